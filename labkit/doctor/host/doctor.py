"""`labkit doctor --host`: runs every host check on one host and prints the command that fixes each failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.doctor.host import PROMISES, Broken, Kept, NotApplicable, Outcome, Promise
from labkit.doctor.host.connect import opened
from labkit.doctor.host.desired import Desired, Source, of_file, of_inventory
from labkit.doctor.host.reader import HostReader
from labkit.doctor.host.roles import folder
from labkit.errors import ConfigInvalid, EnvironmentBroken, ToolFailed

NOTHING_HELD = 1
"""Exit code where no promise applies: nothing was found wrong, and nothing right."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """What the host has, or what it shall have, can't be told: only this promise stays open."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What looking for one promise found."""

    promise: Promise
    outcome: Outcome | Unknown
    closing: str
    """Command that closes the difference, if there is one."""


def source(host: str, *, inventory: Sequence[str] | None, desired: str | None) -> Source:
    """Where it is written what `host` shall be; of localhost in the roles' own inventory where nothing is given."""
    if inventory and desired:
        raise ConfigInvalid(
            "both an inventory and a file of variables were given", hint="use either -i or --desired"
        )
    if desired:
        return of_file(host, Path(desired))
    if inventory:
        return of_inventory(host, *inventory)
    if host != "localhost":
        raise ConfigInvalid(
            f"no configuration is given for {host}",
            hint="give its inventory (-i INVENTORY) or --desired FILE",
        )
    return of_inventory(host, folder() / "inventory/local.yml")


def run(where: Source) -> list[Verdict]:
    """Look for every promise. Raises EnvironmentBroken for a host that cannot be reached."""
    with opened(where) as (reader, desired):
        return [
            Verdict(
                promise=promise,
                outcome=_outcome(promise, reader, desired),
                closing=desired.close(promise.role),
            )
            for promise in PROMISES
        ]


def _outcome(promise: Promise, reader: HostReader, desired: Desired) -> Outcome | Unknown:
    """What looking found. What is wrong with one variable or file of a host leaves the other promises to be told."""
    try:
        return promise.look(reader, desired)
    except (ConfigInvalid, ToolFailed) as error:
        return Unknown(str(error))


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0: at least one promise applies and all that do are kept."""
    if any(isinstance(one.outcome, Broken | Unknown) for one in verdicts):
        return EnvironmentBroken.exit_code
    return 0 if any(isinstance(one.outcome, Kept) for one in verdicts) else NOTHING_HELD


def as_json(host: str, verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """For --json: a list of promises; `state` is kept, broken, unknown or not_applicable."""
    rows: list[dict[str, object]] = []
    for verdict in verdicts:
        promise, outcome = verdict.promise, verdict.outcome
        row: dict[str, object] = {"id": promise.id, "host": host, "role": promise.role, "text": promise.text}
        if isinstance(outcome, Kept):
            rows.append(row | {"state": "kept", "found": outcome.found})
        elif isinstance(outcome, Broken):
            told = {"expected": outcome.expected, "found": outcome.found, "closes_it": verdict.closing}
            rows.append(row | {"state": "broken", **told})
        elif isinstance(outcome, Unknown):
            rows.append(row | {"state": "unknown", "error": outcome.why})
        else:
            rows.append(row | {"state": "not_applicable", "reason": outcome.reason})
    return rows


def print_lines(verdicts: Sequence[Verdict]) -> None:
    """On the terminal. Not wrapped, so that a command can be copied; a reason that repeats is said once."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    first: dict[str, str] = {}

    def reason(text: str, of: str) -> str:
        return text if first.setdefault(text, of) == of else f"for the same reason as {first[text]}"

    for verdict in verdicts:
        outcome, name = verdict.outcome, f"{verdict.promise.id:<30} "
        if isinstance(outcome, Kept):
            console.print(Text.assemble(("ok      ", "green"), name, outcome.found))
        elif isinstance(outcome, Broken):
            console.print(Text.assemble(("BROKEN  ", "red"), name, verdict.promise.text))
            console.print(Text(f"        expected   {outcome.expected}\n        found      {outcome.found}"))
            console.print(Text.assemble("        fix        ", (verdict.closing, "bold")))
        elif isinstance(outcome, Unknown):
            console.print(Text.assemble(("UNKNOWN ", "red"), name, verdict.promise.text))
            console.print(Text(f"        {reason(outcome.why, verdict.promise.id)}"))
        else:
            console.print(
                Text.assemble("-       ", name, reason(outcome.reason, verdict.promise.id), style="dim")
            )
    if legend := _legend(verdicts):
        console.print(Text("\n" + "\n".join(legend)))
    console.print(f"\n{_sum(verdicts)}", highlight=False)


def _legend(verdicts: Sequence[Verdict]) -> list[str]:
    """What the words mean that are in the lines."""
    words = (
        (
            Broken,
            'BROKEN: the value in effect is not the configured one; "fix" is the command that applies it',
        ),
        (
            Unknown,
            "UNKNOWN: the check could not be completed, for the reason beside it",
        ),
        (NotApplicable, "-: not applicable to this host, for the reason beside it"),
    )
    return [text for kind, text in words if any(isinstance(one.outcome, kind) for one in verdicts)]


def _sum(verdicts: Sequence[Verdict]) -> str:
    def count(kind: type) -> int:
        return sum(isinstance(one.outcome, kind) for one in verdicts)

    held, wrong, unknown = len(verdicts) - count(NotApplicable), count(Broken), count(Unknown)
    if not held:
        return "no check applies: nothing is configured for this host, so nothing was checked"
    if not wrong and not unknown:
        return f"all {held} checks passed"
    parts = [f"{wrong} of {held} checks failed"] if wrong else []
    if unknown:
        parts.append(f"{unknown} of {held} could not be completed")
    return ", ".join(parts)
