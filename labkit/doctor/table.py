"""Prints the findings of the doctor: as a table on the terminal, or as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from labkit.doctor.model import Finding
from labkit.machine import fix

if TYPE_CHECKING:
    from rich.text import Text

MISSING, NO = "missing", "no"


def as_json(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """For `labkit doctor --json`: a list of findings."""
    return [asdict(finding) for finding in findings]


def print_table(findings: Sequence[Finding]) -> None:
    """The findings on the terminal, a legend, and which backends can run.

    Not wrapped and not cut, so that a command can be copied and a log holds all of it. A reason that repeats is printed
    once; the others refer to it.
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
