"""What this machine can run, what is missing, and the command that mends it.

Everything is found by doing (open, bind, attach) in a scratch namespace, never by a version. It must not change the
machine: what is tried dies with the process that tries it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from labkit.doctor import scratch
from labkit.doctor.catalog import CHECKS
from labkit.doctor.model import Check, Finding
from labkit.errors import LabkitBug
from labkit.machine import fix

if TYPE_CHECKING:
    from rich.text import Text

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
                fix=None if ok else attempt.fix or check.fix(),
            )
    return tuple(_found[key] for key in keys.values())


def as_json(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """For `labkit doctor --json`: a list of findings."""
    return [asdict(finding) for finding in findings]


def print_table(findings: Sequence[Finding]) -> None:
    """The findings on the terminal, what the words before them mean, and which backends can run.

    Not wrapped and not cut, so that a command can be copied and a log holds all of it. A reason is said once: what has
    the same one says whose it shares.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    width = max(len(finding.id) for finding in findings)
    first: dict[tuple[str | None, str | None], str] = {}
    for finding in findings:
        head = Text.assemble(_mark(finding), f"  {finding.id:<{width}}  ")
        reason = (finding.error, finding.fix)
        if finding.ok:
            console.print(Text.assemble(head, finding.detail))
        elif reason in first:
            console.print(Text.assemble(head, f"for the same reason as {first[reason]}"))
        else:
            first[reason] = finding.id
            console.print(Text.assemble(head, str(finding.error)))
            console.print(Text.assemble(" " * len(head), "fix: ", (str(finding.fix), "bold")))
    console.print()
    for line in (*_legend(findings), *_summary(findings)):
        console.print(Text(line))


MISSING, NO = "missing", "no"


def _mark(finding: Finding) -> Text:
    from rich.text import Text

    if finding.ok:
        word, style = "ok", "green"
    elif finding.required_for:
        word, style = MISSING, "red"
    else:
        word, style = NO, "yellow"
    return Text(f"{word:<{len(MISSING)}}", style=style)


def _legend(findings: Sequence[Finding]) -> list[str]:
    """What the words mean that are in the table."""
    lacking = [finding for finding in findings if not finding.ok]
    lines = []
    if any(finding.required_for for finding in lacking):
        lines.append(f"{MISSING}: a datapath needs it and cannot run without it (listed below)")
    if any(not finding.required_for for finding in lacking):
        lines.append(
            f"{NO}: not available, and no datapath requires it; it enables further or better measurements"
        )
    return [*lines, ""] if lines else []


def _summary(findings: Sequence[Finding]) -> list[str]:
    backends = dict.fromkeys(name for finding in findings for name in finding.required_for)
    lines = []
    for backend in backends:
        lacking = [finding.id for finding in findings if backend in finding.required_for and not finding.ok]
        lines.append(f"{backend:<10} {'lacks ' + ', '.join(lacking) if lacking else 'can run'}")
    if os.geteuid() != 0:
        lines.append(
            "Not root: the checks ran in a user namespace. XDP and AF_XDP need root; to check them as root: "
            + fix.labkit("doctor", root=True)
        )
    return lines
