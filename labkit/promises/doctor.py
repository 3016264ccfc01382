"""`labkit doctor --host`: every promise held against one host, and the command that closes each difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ConfigInvalid
from labkit.promises import PROMISES, Broken, Kept, NotApplicable, Outcome, Promise
from labkit.promises.connect import opened
from labkit.promises.desired import Source, of_file, of_inventory
from labkit.promises.roles import folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What looking for one promise found."""

    promise: Promise
    outcome: Outcome
    closing: str
    """Command that closes the difference, if there is one."""


def source(host: str, *, inventory: str | None, desired: str | None) -> Source:
    """Where it is written what `host` shall be; of localhost in the roles' own inventory where nothing is given."""
    if inventory and desired:
        raise ConfigInvalid(
            "both an inventory and a file of variables", hint="give -i or --desired, not both"
        )
    if desired:
        return of_file(host, Path(desired))
    if inventory:
        return of_inventory(host, Path(inventory))
    if host != "localhost":
        raise ConfigInvalid(
            f"nothing says what {host} shall be", hint="give its inventory (-i INVENTORY) or --desired FILE"
        )
    return of_inventory(host, folder() / "inventory/local.yml")


def run(where: Source) -> list[Verdict]:
    """Look for every promise."""
    with opened(where) as (eyes, desired):
        return [
            Verdict(
                promise=promise, outcome=promise.check(eyes, desired), closing=desired.close(promise.role)
            )
            for promise in PROMISES
        ]


def as_json(host: str, verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """For --json: a list of promises; `state` is kept, broken or not_applicable."""
    rows: list[dict[str, object]] = []
    for verdict in verdicts:
        promise, outcome = verdict.promise, verdict.outcome
        row: dict[str, object] = {"id": promise.id, "host": host, "role": promise.role, "text": promise.text}
        if isinstance(outcome, Kept):
            rows.append(row | {"state": "kept", "found": outcome.found})
        elif isinstance(outcome, Broken):
            told = {"expected": outcome.expected, "found": outcome.found, "closes_it": verdict.closing}
            rows.append(row | {"state": "broken", **told})
        else:
            rows.append(row | {"state": "not_applicable", "reason": outcome.reason})
    return rows


def print_lines(verdicts: Sequence[Verdict]) -> None:
    """On the terminal. Not wrapped, so that a command can be copied."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    for verdict in verdicts:
        outcome, name = verdict.outcome, f"{verdict.promise.id:<30} "
        if isinstance(outcome, Kept):
            console.print(Text.assemble(("ok      ", "green"), name, outcome.found))
        elif isinstance(outcome, Broken):
            console.print(Text.assemble(("BROKEN  ", "red"), name, verdict.promise.text))
            console.print(Text(f"        expected   {outcome.expected}\n        found      {outcome.found}"))
            console.print(Text.assemble("        closes it: ", (verdict.closing, "bold")))
        else:
            console.print(Text.assemble("-       ", name, outcome.reason, style="dim"))
    wrong, held = len(broken(verdicts)), sum(not isinstance(one.outcome, NotApplicable) for one in verdicts)
    console.print(
        f"\n{wrong} of {held} promises broken" if wrong else f"\nall {held} promises are kept",
        highlight=False,
    )


def broken(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that are not kept."""
    return [verdict for verdict in verdicts if isinstance(verdict.outcome, Broken)]
