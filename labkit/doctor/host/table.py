"""Prints the results of the host checks: as lines on the terminal, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.doctor.host import Failed, NotApplicable, Passed
from labkit.doctor.host.doctor import CheckResult, UnknownOutcome


def as_json(host: str, results: Sequence[CheckResult]) -> list[dict[str, object]]:
    """For --json: a list of host checks. `state` is kept (passed), broken (failed), unknown or not_applicable.

    The keys and states are those of labkit 0.1, so that what reads them need not change.
    """
    rows: list[dict[str, object]] = []
    for result in results:
        check, outcome = result.check, result.outcome
        row: dict[str, object] = {"id": check.id, "host": host, "role": check.role, "text": check.text}
        if isinstance(outcome, Passed):
            row |= {"state": "kept", "found": outcome.found}
        elif isinstance(outcome, Failed):
            row |= {"state": "broken", "expected": outcome.expected, "found": outcome.found}
            row["closes_it"] = result.fix
        elif isinstance(outcome, UnknownOutcome):
            row |= {"state": "unknown", "error": outcome.why}
        else:
            row |= {"state": "not_applicable", "reason": outcome.reason}
        rows.append(row)
    return rows


def print_lines(results: Sequence[CheckResult]) -> None:
    """On the terminal. Not wrapped, so that a command can be copied; a reason that repeats is printed once."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    first: dict[str, str] = {}

    def reason(text: str, of: str) -> str:
        return text if first.setdefault(text, of) == of else f"for the same reason as {first[text]}"

    for result in results:
        check, outcome, name = result.check, result.outcome, f"{result.check.id:<30} "
        if isinstance(outcome, Passed):
            console.print(Text.assemble(("ok      ", "green"), name, outcome.found))
        elif isinstance(outcome, Failed):
            console.print(Text.assemble(("FAILED  ", "red"), name, check.text))
            console.print(Text(f"        expected   {outcome.expected}\n        found      {outcome.found}"))
            console.print(Text.assemble("        fix        ", (result.fix, "bold")))
        elif isinstance(outcome, UnknownOutcome):
            console.print(Text.assemble(("UNKNOWN ", "red"), name, check.text))
            console.print(Text(f"        {reason(outcome.why, check.id)}"))
        else:
            console.print(Text.assemble("-       ", name, reason(outcome.reason, check.id), style="dim"))
    if legend := _legend(results):
        console.print(Text("\n" + "\n".join(legend)))
    console.print(f"\n{_sum(results)}", highlight=False)


def _legend(results: Sequence[CheckResult]) -> list[str]:
    """What the words mean that are in the lines."""
    words = (
        (
            Failed,
            'FAILED: the value in effect is not the configured one; "fix" is the command that applies it',
        ),
        (UnknownOutcome, "UNKNOWN: the check could not be completed, for the reason beside it"),
        (NotApplicable, "-: not applicable to this host, for the reason beside it"),
    )
    return [text for kind, text in words if any(isinstance(one.outcome, kind) for one in results)]


def _sum(results: Sequence[CheckResult]) -> str:
    def count(kind: type) -> int:
        return sum(isinstance(one.outcome, kind) for one in results)

    applicable, failed, unknown = len(results) - count(NotApplicable), count(Failed), count(UnknownOutcome)
    if not applicable:
        return "no check applies: nothing is configured for this host, so nothing was checked"
    if not failed and not unknown:
        return f"all {applicable} checks passed"
    parts = [f"{failed} of {applicable} checks failed"] if failed else []
    if unknown:
        parts.append(f"{unknown} of {applicable} could not be completed")
    return ", ".join(parts)
