"""labkit against the tools it is to be compared with: ratios, both sides measured in turn and in one go.

    python tests/bench/bench.py [NAME ...] [--pairs N] [--results DIR]

Prints a table and writes bench.json: a list of {name, ratio, low, high, floor, ceiling, aim, against, unit, ours,
theirs, theirs_low, theirs_high}. A ratio is the median over the pairs, low and high are the extremes; ours and theirs
are medians. Exit code 1 when a median is under its floor. Two that are to be alike have a ceiling, too, and fail when
all pairs are under the floor or all over the ceiling; pairs that other programs disturb are left out. Whether ours is
within the spread of theirs is printed, and fails nothing, nor does a comparison of which all pairs were disturbed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from comparisons import COMPARISONS
from pairs import Disturbed, Line, figure, summarise

from labkit.errors import LabkitError


def _spread(line: Line) -> str:
    low, high = (figure(value, line.unit) for value in (line.theirs_low, line.theirs_high))
    where = "within" if line.within_spread else "outside"
    return f"{line.name}: {figure(line.ours, line.unit)} is {where} the spread of {line.against}, {low} .. {high}"


def main() -> int:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {comparison.name: comparison for comparison in COMPARISONS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(known)}")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs for each comparison (default: 5)")
    parser.add_argument("--results", default="results", help="where bench.json is written (default: results)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"no comparison is called {unknown[0]!r}: expected {', '.join(known)}")
    if arguments.pairs < 1:
        parser.error(f"--pairs: expected 1 or more, got {arguments.pairs}")
    # As wide as the table: a log file has no width of its own, and a wrapped row is hard to read.
    console = Console(width=None if sys.stdout.isatty() else 140)
    lines: list[Line] = []
    failed: list[str] = []
    disturbed: list[str] = []
    for name in arguments.names or known:
        comparison = known[name]
        console.print(f"[dim]{name}: {comparison.title}[/dim]", highlight=False)
        say: Callable[[str], None] = lambda text: console.print(f"[dim]    {text}[/dim]", highlight=False)  # noqa: E731
        try:
            lines.append(summarise(comparison, comparison.measure(arguments.pairs, say)))
        except Disturbed as error:
            disturbed.append(name)
            console.print(f"{name}: not measured: {error}", style="yellow", highlight=False)
        except LabkitError as error:
            failed.append(name)
            console.print(f"{name}: not measured: {error}", style="red", highlight=False)
    folder = Path(arguments.results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")
    table = Table(box=None)
    for heading in ("name", "ratio", "low .. high", "floor", "aim", "ours", "theirs", "against"):
        table.add_column(heading, justify="left" if heading in ("name", "against") else "right", no_wrap=True)
    for line in lines:
        alike = line.ceiling is not None
        table.add_row(
            line.name,
            f"{line.ratio:.3g}",
            f"{line.low:.3g} .. {line.high:.3g}",
            f"{line.floor:g} .. {line.ceiling:g}" if alike else f"{line.floor:g}",
            "spread" if alike else f"{line.aim:g}",
            figure(line.ours, line.unit),
            figure(line.theirs, line.unit),
            line.against,
            style="red" if line.failed else "green" if line.reached else "",
        )
    if lines:
        console.print(table)
    for line in lines:
        if line.ceiling is not None:
            console.print(_spread(line), highlight=False)
    out = [line.name for line in lines if line.failed]
    ending = f"{len(lines) - len(out)} passed, {len(out) + len(failed)} failed"
    console.print(f"{ending}, {len(disturbed)} disturbed" if disturbed else ending, highlight=False)
    return 1 if out or failed else 0


if __name__ == "__main__":
    sys.exit(main())
