"""What this machine can run, what is missing, and the command that mends it.

Everything is found by doing (open, bind, attach) in a scratch namespace, never by a version. It must not change the
machine: what is tried dies with the process that tries it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from labkit.doctor import scratch
from labkit.doctor.catalog import CHECKS
from labkit.doctor.model import Check, Finding
from labkit.errors import LabkitBug

__all__ = ["Check", "Finding", "as_json", "checks", "print_table", "run"]

_found: dict[tuple[str, int], Finding] = {}
"""By check and the MTU that it was tried at."""


def checks() -> tuple[Check, ...]:
    """All checks, in the order of the table."""
    return CHECKS


def run(
    ids: Iterable[str] | None = None, *, mtu_bytes: int = scratch.ORDINARY_MTU_BYTES
) -> tuple[Finding, ...]:
    """Findings of the checks of these ids (None: all), in the order of the table. A process tries each once.

    `mtu_bytes` is that of the links on which what is checked will run: native XDP does not go with every MTU.
    """
    by_id = {check.id: check for check in CHECKS}
    wanted = set(by_id) if ids is None else set(ids)
    if unknown := wanted - by_id.keys():
        raise LabkitBug(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(by_id)}")
    keys = {
        name: (name, mtu_bytes if check.mtu_matters else scratch.ORDINARY_MTU_BYTES)
        for name, check in by_id.items()
        if name in wanted
    }
    for mtu in dict.fromkeys(mtu for _, mtu in keys.values()):
        untried = [name for name, at in keys.values() if at == mtu and (name, mtu) not in _found]
        for name, attempt in scratch.attempt_all(untried, mtu_bytes=mtu).items() if untried else ():
            check = by_id[name]
            ok = attempt.error is None
            _found[name, mtu] = Finding(
                id=name,
                title=check.title,
                ok=ok,
                required_for=check.required_for,
                detail=attempt.detail,
                error=attempt.error,
                fix=None if ok else attempt.fix or check.fix,
            )
    return tuple(_found[key] for key in keys.values())


def as_json(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """For `labkit doctor --json`: a list of findings."""
    return [asdict(finding) for finding in findings]


def print_table(findings: Sequence[Finding]) -> None:
    """The findings on the terminal, and which backends can run."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        if finding.ok:
            mark, said = Text("ok", style="green"), Text(finding.detail)
        else:
            mark = Text("missing", style="red") if finding.required_for else Text("no", style="yellow")
            said = Text.assemble(f"{finding.error}\n", (f"fix: {finding.fix}", "bold"))
        table.add_row(mark, finding.id, said)
    console = Console()
    console.print(table)
    console.print()
    for line in _summary(findings):
        console.print(Text(line))


def _summary(findings: Sequence[Finding]) -> list[str]:
    backends = dict.fromkeys(name for finding in findings for name in finding.required_for)
    lines = []
    for backend in backends:
        lacking = [finding.id for finding in findings if backend in finding.required_for and not finding.ok]
        lines.append(f"{backend:<10} {'lacks ' + ', '.join(lacking) if lacking else 'can run'}")
    if os.geteuid() != 0:
        lines.append(
            "Not root: tried in a user namespace. XDP and AF_XDP need root; sudo labkit doctor tries them so."
        )
    return lines
