"""labkit against the tools it is to be compared with: ratios, both sides measured in turn and in one go.

    python tests/bench/bench.py [NAME ...] [--pairs N] [--results DIR]

Prints a table and writes bench.json: a list of {name, ratio, low, high, floor, aim, against}. A ratio is the median
over the pairs, low and high are the extremes. Exit code 1 when a median is under its floor.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from comparisons import COMPARISONS

from labkit.errors import LabkitError
from labkit.units import Unit, format_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison's outcome."""

    name: str
    ratio: float
    low: float
    high: float
    floor: float
    aim: float
    against: str
    unit: str
    ours: float
    theirs: float


def summarise(comparison: object, pairs: Iterable[tuple[float, float]]) -> Line:
    """Median and extremes of the ratios, pair by pair."""
    made = list(pairs)
    ratios = [comparison.ratio(ours, theirs) for ours, theirs in made]  # type: ignore[attr-defined]
    return Line(
        name=comparison.name,  # type: ignore[attr-defined]
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        floor=comparison.floor,  # type: ignore[attr-defined]
        aim=comparison.aim,  # type: ignore[attr-defined]
        against=comparison.against,  # type: ignore[attr-defined]
        unit=comparison.unit,  # type: ignore[attr-defined]
        ours=statistics.median(ours for ours, _ in made),
        theirs=statistics.median(theirs for _, theirs in made),
    )


def _figure(value: float, unit: str) -> str:
    return format_quantity(value, Unit.PPS) if unit == "pps" else f"{value:.3g} {unit}"


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
    # As wide as the table: a log file has no width of its own, and a wrapped row is hard to read.
    console = Console(width=None if sys.stdout.isatty() else 140)
    lines: list[Line] = []
    failed: list[str] = []
    for name in arguments.names or known:
        comparison = known[name]
        console.print(f"[dim]{name}: {comparison.title}[/dim]", highlight=False)
        say: Callable[[str], None] = lambda text: console.print(f"[dim]    {text}[/dim]", highlight=False)  # noqa: E731
        try:
            lines.append(summarise(comparison, comparison.measure(arguments.pairs, say)))
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
        style = "red" if line.ratio < line.floor else "green" if line.ratio >= line.aim else ""
        table.add_row(
            line.name,
            f"{line.ratio:.3g}",
            f"{line.low:.3g} .. {line.high:.3g}",
            f"{line.floor:g}",
            f"{line.aim:g}",
            _figure(line.ours, line.unit),
            _figure(line.theirs, line.unit),
            line.against,
            style=style,
        )
    console.print(table)
    under = [line.name for line in lines if line.ratio < line.floor]
    console.print(f"{len(lines) - len(under)} passed, {len(under) + len(failed)} failed", highlight=False)
    return 1 if under or failed else 0


if __name__ == "__main__":
    sys.exit(main())
