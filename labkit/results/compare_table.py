"""A comparison of two runs on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labkit.results import format as fmt
from labkit.results.compare import Changed, Comparison, Difference
from labkit.results.model import Key
from labkit.results.spread import Reading
from labkit.results.table import HOST_NAMES

STYLES = {"invalid": "yellow", "not comparable": "cyan"}


def print_comparison(found: Comparison, *, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print it to `file` (default: stdout), plain where that is no terminal."""
    console = Console(file=file, width=width, highlight=False)
    console.print(Text(f"A  {found.a}: {found.kernel_a}"))
    console.print(Text(f"B  {found.b}: {found.kernel_b}"))
    console.print(Text(f"on {found.host}"))
    for title, changes in (("compared", found.kernel), ("differs besides", found.besides)):
        for change in changes:
            console.print(_changed(title, change))
    console.print()
    if found.differences:
        console.print(_table(found))
        console.print()
    for (key, finding, reason), group in groupby(
        found.differences, key=lambda d: (d.key, d.finding, d.reason)
    ):
        if reason:
            metrics = ", ".join(_metric(d) for d in group)
            console.print(
                Text.assemble((finding, STYLES.get(finding, "")), f" {row_name(key)}, {metrics}: {reason}")
            )
    for note in found.notes:
        console.print(Text(note, style="dim"))
    console.print(Text(closing_line(found), style="bold"))


def closing_line(found: Comparison) -> str:
    """Such as "B against A in these two runs: 3 lower, 1 higher, 12 within spread, ...": all five, always."""
    words = ("lower", "higher", "within spread", "invalid", "not comparable")
    return "B against A in these two runs: " + ", ".join(f"{found.counts[word]} {word}" for word in words)


def row_name(key: Key) -> str:
    """What was measured: "wake-up", "af_xdp busy_poll on veth, 64 B"."""
    if key.is_host:
        return HOST_NAMES.get(key.mode, key.mode)
    more = [f"{key.frame} B", *(["IPv6"] if key.ip_version == 6 else [])]
    more += [f"{key.flows} flows"] if key.flows != 1 else []
    return f"{key.backend}{f' {key.mode}' if key.mode else ''} on {key.topology}, {', '.join(more)}"


def _changed(title: str, change: Changed) -> Text:
    """A long fact (a command line) is told by the words that only one side has."""
    if max(len(change.a), len(change.b)) <= 60:
        return Text(f"{title}: {change.what}: {change.a} -> {change.b}")
    a, b = change.a.split(), change.b.split()
    gone, come = [w for w in a if w not in b], [w for w in b if w not in a]
    parts = [f"A only: {' '.join(gone)}" if gone else "", f"B only: {' '.join(come)}" if come else ""]
    told = "; ".join(p for p in parts if p) or "the same words in another order"
    return Text(f"{title}: {change.what}: {told}")


def _table(found: Comparison) -> Table:
    out = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    out.add_column("", no_wrap=False)
    for head in ("A", "B", "B - A", "B / A"):
        out.add_column(head, justify="right", no_wrap=True)
    out.add_column("B is", no_wrap=True)
    for key, group in groupby(found.differences, key=lambda d: d.key):
        out.add_row(Text(row_name(key), style="bold"))
        for cells, finding in _lines(list(group)):
            out.add_row(*map(Text, cells), Text(finding, style=STYLES.get(finding, "")))
    return out


def _lines(group: list[Difference]) -> Iterator[tuple[tuple[str, ...], str]]:
    for d in group:
        name = f"  {_metric(d)}"
        ratio = fmt.DASH if d.ratio is None else fmt.ratio(d.ratio)
        yield (name, _value(d.a), _value(d.b), _difference(d), ratio), d.finding


def _metric(d: Difference) -> str:
    return d.metric.upper() if d.unit == "pps" else d.metric


def _value(reading: Reading | None) -> str:
    if reading is None:
        return fmt.DASH
    if reading.value is None:
        return f"≤ {_quantity(reading.high, reading.unit)}"
    least = fmt.MARKS["at least"] if reading.high is None and reading.value > 0 else ""
    return f"{least}{_quantity(reading.value, reading.unit)}"


def _quantity(value: float | None, unit: str) -> str:
    return fmt.pps(value) if unit == "pps" else fmt.duration_us(value)


def _difference(d: Difference) -> str:
    if d.difference is None:
        return fmt.DASH
    sign = "+" if d.difference > 0 else "-" if d.difference < 0 else ""
    if not sign:
        return "0"
    return f"{sign}{_quantity(abs(d.difference), d.unit)}"
