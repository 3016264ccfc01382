"""A comparison of two runs on the terminal: what differs, and in a line each why something could not be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import IO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from labkit import format as fmt
from labkit.output import console, plain
from labkit.record.model import HostKey, Key
from labkit.results import marks
from labkit.results.comparison import KERNEL_NOTE, UNCERTAINTY_NOTE, WITHIN, Changed, Comparison, Difference
from labkit.results.fail_if import Condition
from labkit.results.layout import Column, choose
from labkit.results.names import HOST_NAMES
from labkit.results.uncertainty import Reading

STYLES = {"invalid": "yellow", "not comparable": "cyan"}
REASONS = 8
"""Lines with the reason why something was not compared; more of them only with --all."""
METRICS = 6
"""Metrics of a row that such a line names; more of them are counted."""


@dataclass(frozen=True)
class ComparisonTable:
    """What differs; with `everything` all figures of both runs."""

    found: Comparison
    everything: bool = False
    fail_if: Sequence[Condition] = ()
    encoding: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = self.found
        yield self._line(f"A  {found.a}: {found.kernel_a}")
        yield self._line(f"B  {found.b}: {found.kernel_b}")
        yield self._line(f"on {found.host}")
        for title, changes in (("compared", found.kernel), ("also differs", found.besides)):
            for change in changes:
                yield self._line(_changed(title, change))
        yield Text()
        shown = [d for d in found.differences if self.everything or d.finding in ("lower", "higher")]
        if shown:
            yield from choose(console, options, [[_columns(shown)]], encoding=self.encoding)
        reasons = list(_reasons(found, everything=self.everything))
        kept = reasons if self.everything else reasons[:REASONS]
        for finding, words in kept:
            line = self._line(f"{finding} {words}")
            line.stylize(STYLES.get(finding, ""), 0, len(finding))
            yield line
        if len(kept) < len(reasons):
            yield self._line(f"and {len(reasons) - len(kept)} more such lines (--all)")
        for note in self._notes(bool(shown)):
            yield self._line(note, "dim")
        yield self._line(closing_line(found), "bold")
        yield from (self._line(line, "bold") for line in fail_lines(found, self.fail_if))

    def _notes(self, shown: bool) -> Iterator[str]:
        """Notes to every comparison are shown only where there is something that they explain."""
        yield from self.found.notes
        if self.found.kernel:
            yield KERNEL_NOTE
        if shown:
            yield UNCERTAINTY_NOTE
        elif self.found.compared:
            yield "No figure differs beyond its uncertainty (--all shows them)."

    def _line(self, text: str, style: str = "") -> Text:
        return Text(plain(text, self.encoding), style=style)


def print_comparison(
    found: Comparison,
    *,
    everything: bool = False,
    fail_if: Sequence[Condition] = (),
    file: IO[str] | None = None,
    width: int | None = None,
) -> None:
    """Print it to `file` (default: stdout), plain and as wide as it is where that is no terminal."""
    to = console(file, width=width)
    encoding = getattr(to.file, "encoding", None)
    to.print(ComparisonTable(found, everything, fail_if, encoding))


def closing_line(found: Comparison) -> str:
    """Such as "B against A in these two runs: 3 lower, 1 higher, 12 within uncertainty, ...": all five, always."""
    words = ("lower", "higher", WITHIN, "invalid", "not comparable")
    return "B against A in these two runs: " + ", ".join(f"{found.counts[word]} {word}" for word in words)


def fail_lines(found: Comparison, fail_if: Sequence[Condition]) -> list[str]:
    """For each condition whether it is met, and by what."""
    lines = []
    for condition in fail_if:
        met = condition.met_by(found)
        rows = "; ".join(_by_row(met, METRICS))
        lines.append(f"--fail-if {condition.text}: {f'FAILED: {rows}' if met else 'not met'}")
    return lines


def row_name(key: Key) -> str:
    """What was measured: "wake-up", "af_xdp busy_poll on veth, 64 B"."""
    if isinstance(key, HostKey):
        return HOST_NAMES.get(key.kind, key.kind)
    more = [fmt.frame(key.frame), *(["IPv6"] if key.ip_version == 6 else [])]
    more += [key.traffic] if key.traffic else []
    more += [f"{key.flows} flows"] if key.flows != 1 else []
    return f"{key.backend}{f' {key.mode}' if key.mode else ''} on {key.topology}, {', '.join(more)}"


def _reasons(found: Comparison, *, everything: bool) -> Iterator[tuple[str, str]]:
    """Why something was not compared: each reason once, with the rows and metrics that it holds for."""
    by_reason: dict[tuple[str, str], list[Difference]] = {}
    for d in found.differences:
        if d.reason:
            by_reason.setdefault((d.finding, d.reason), []).append(d)
    for (finding, reason), differences in by_reason.items():
        most = len(differences) if everything else METRICS
        yield finding, f"{'; '.join(_by_row(differences, most))}: {reason}"


def _by_row(differences: Sequence[Difference], most: int) -> Iterator[str]:
    """Such as "wake-up, p50, p99", or how many they are."""
    for key, group in groupby(differences, key=lambda d: d.key):
        metrics = [_metric(d) for d in group]
        yield f"{row_name(key)}, {', '.join(metrics) if len(metrics) <= most else f'{len(metrics)} figures'}"


def _changed(title: str, change: Changed) -> str:
    """Of a long fact (a command line) only the words that one side alone has."""
    if max(len(change.a), len(change.b)) <= 60:
        return f"{title}: {change.what}: {change.a} -> {change.b}"
    a, b = change.a.split(), change.b.split()
    gone, come = [w for w in a if w not in b], [w for w in b if w not in a]
    parts = [f"A only: {' '.join(gone)}" if gone else "", f"B only: {' '.join(come)}" if come else ""]
    words = "; ".join(p for p in parts if p) or "the same words in another order"
    return f"{title}: {change.what}: {words}"


def _columns(shown: Sequence[Difference]) -> list[Column]:
    """A row's name stands beside its first metric."""
    first = [i == 0 or shown[i - 1].key != d.key for i, d in enumerate(shown)]
    names = (row_name(d.key) if new else "" for d, new in zip(shown, first, strict=True))

    def figures(head: str, cells: Iterator[str]) -> Column:
        return Column(head=head, cells=tuple(cells))

    return [
        Column(head="", cells=tuple(names), figure=False, right=False),
        Column(head="", cells=tuple(map(_metric, shown)), figure=False, right=False),
        figures("A", (_value(d.a) for d in shown)),
        figures("B", (_value(d.b) for d in shown)),
        figures("B - A", (_difference(d) for d in shown)),
        figures("B / A", (_ratio(d) for d in shown)),
        Column(
            head="B is",
            cells=tuple(d.finding for d in shown),
            right=False,
            style=lambda finding: STYLES.get(finding, ""),
        ),
    ]


def _metric(d: Difference) -> str:
    return d.metric.upper() if d.unit == "pps" else d.metric


def _value(reading: Reading | None) -> str:
    if reading is None:
        return fmt.DASH
    if reading.value is None:
        return f"{marks.MARKS['at most']}{_quantity(reading.high, reading.unit)}"
    bound = "at least" if reading.high is None and reading.value > 0 else ""
    return f"{marks.MARKS[bound]}{_quantity(reading.value, reading.unit, bound)}"


def _quantity(value: float | None, unit: str, bound: str = "") -> str:
    return fmt.pps(value, bound=bound) if unit == "pps" else fmt.duration_us(value)


def _difference(d: Difference) -> str:
    if d.difference is None:
        return fmt.DASH
    sign = "+" if d.difference > 0 else "-" if d.difference < 0 else ""
    if not sign:
        return "0"
    return f"{marks.MARKS[d.bound]}{sign}{_quantity(abs(d.difference), d.unit)}"


def _ratio(d: Difference) -> str:
    return fmt.DASH if d.ratio is None else f"{marks.MARKS[d.bound]}{fmt.ratio(d.ratio, bound=d.bound)}"
