"""`labkit doctor --host`: every promise held against one host, and the command that closes each difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ConfigInvalid
from labkit.promises import PROMISES, Broken, Kept, Outcome, Promise
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


def print_table(verdicts: Sequence[Verdict]) -> None:
    """On the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for verdict in verdicts:
        outcome = verdict.outcome
        if isinstance(outcome, Kept):
            mark, said = Text("ok", style="green"), Text(outcome.found)
        elif isinstance(outcome, Broken):
            mark = Text("BROKEN", style="red")
            said = Text.assemble(
                f"{verdict.promise.text}: not so\nexpected {outcome.expected}\nfound    {outcome.found}\n",
                (f"closes it: {verdict.closing}", "bold"),
            )
        else:
            mark, said = Text("-", style="dim"), Text(outcome.reason, style="dim")
        table.add_row(mark, verdict.promise.id, said)
    console = Console(soft_wrap=True)
    console.print(table)
    count = len(broken(verdicts))
    console.print(f"\n{count} of {len(verdicts)} promises broken" if count else "\nevery promise is kept")


def broken(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that are not kept."""
    return [verdict for verdict in verdicts if isinstance(verdict.outcome, Broken)]
