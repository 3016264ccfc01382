"""The table of a run on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import IO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from labkit import format as fmt
from labkit.measure.frame_size import IMIX, OWN_IMIX
from labkit.output import console, plain
from labkit.record.model import DatapathKey, HostKey
from labkit.record.run import Run
from labkit.results import marks
from labkit.results.answer import answer
from labkit.results.flavour import COMMAND_LINE, tuning
from labkit.results.gate_words import kind
from labkit.results.layout import Column, choose
from labkit.results.names import name, where
from labkit.results.outcomes import closing_lines
from labkit.results.row import Row
from labkit.results.rows import rows
from labkit.results.side_by_side import ByTester, side_by_side
from labkit.results.to_kernel import other_link, ratio_basis
from labkit.results.trust import of_tier

STYLES = {"pass": "green", "fail": "bold red", "skip": "cyan", "invalid": "yellow"}


@dataclass(frozen=True)
class RunTable:
    """The rows, the reasons of those that did not pass, notes to the figures, and the closing counts."""

    run: Run
    encoding: str | None = None
    """The encoding of the output; None: it has every letter."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        everything = rows(self.run)
        hosts, found = ([r for r in everything if r.is_host is wanted] for wanted in (True, False))
        if hosts:
            yield from choose(console, options, [[_host_columns(hosts)]], encoding=self.encoding)
        if found:
            yield from choose(console, options, _layouts(found), encoding=self.encoding)
        if beside := side_by_side(self.run, found):
            yield from choose(console, options, [[_testers(beside)]], encoding=self.encoding)
        for row in everything:
            if row.reason and row.verdict not in (None, "pass"):
                yield self._line(f"{row.verdict} {where(row)}: {row.reason}", STYLES[row.verdict])
            if row.doubt:
                yield self._line(f"doubt {where(row)}: {row.doubt}", "yellow")
        for note in notes(self.run, everything):
            yield self._line(note, "dim")
        if any(isinstance(m.key, DatapathKey) for m in self.run.measurements):
            yield self._line(answer(self.run).lead, "bold")
        for line in closing_lines(self.run):
            yield self._line(line, "bold")

    def _line(self, text: str, style: str) -> Text:
        """A line; of one about a row only the first word is in colour."""
        line = Text(plain(text, self.encoding))
        if style in ("dim", "bold"):
            line.stylize(style)
        else:
            line.stylize(style, 0, text.index(" "))
        return line


def print_table(run: Run, *, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print the table to `file` (default: stdout), plain and as wide as it is where that is no terminal."""
    to = console(file, width=width)
    to.print(RunTable(run, encoding=getattr(to.file, "encoding", None)))


def as_text(run: Run, *, width: int | None, encoding: str | None) -> str:
    """The same as a string; `width` None: as wide as it is."""
    text = StringIO()
    console(text, width=width).print(RunTable(run, encoding=encoding))
    return text.getvalue()


def notes(run: Run, found: list[Row]) -> list[str]:
    """What a reader must know before the figures, the most important first."""
    out = []
    if run.state == "interrupted":
        out.append("INTERRUPTED: the run stopped early; only what it had finished is here")
    if simulated := of_tier(run, "simulated"):
        out.append(f"SIMULATED: {', '.join(simulated)}: a model of a DUT; no packet was sent")
    if emulated := of_tier(run, "vm"):
        out.append(f"EMULATED: {', '.join(emulated)}: emulated NICs and cables; not what a NIC carries")
    if run.environment and any(isinstance(m.key, HostKey) for m in run.measurements):
        facts = [f"{what} {value}" for what, value in tuning(run.environment) if what != COMMAND_LINE]
        out.append("host: " + "; ".join(facts))
    if run.start.quick:
        out.append("QUICK: few and short trials: indicative only, not for publication")
    if any(rate.at_least for r in found for rate in r.rates):
        out.append(
            "≥: at least: the tester was the bottleneck (within 5 % of its maximum offered load, or most of the "
            "missing frames were never sent), or no load with too much loss was found"
        )
    if any((r.ndr_invalid or r.rtt_50pdr_invalid) and marks.invalid(r) for r in found):
        out.append(f"{marks.INVALID}: invalid by itself; the reason is above")
    own = {one.own_disturbed for together in side_by_side(run, found) for one in together}
    out += [
        f"{marks.INVALID} at a tester's own times: measured while {why}: they may be too long"
        for why in sorted(own - {""})
    ]
    out += _frames(found)
    if again := _measured_again(run, found):
        out.append(again)
    engines: dict[str, list[str]] = {}
    for m in run.measurements:
        if note := m.tester.get("engine_note"):
            engines.setdefault(str(note), []).append(m.key.topology)
    out += [f"{', '.join(dict.fromkeys(labs))}: {note}" for note, labs in engines.items()]
    return [*out, *_ratio_notes(found)]


def _frames(found: Sequence[Row]) -> list[str]:
    """Which frames they are where their size and a row's name do not say it all."""
    said = {(r.topology, fmt.traffic(r.traffic)[1]) for r in found}
    out = [f"frames of {lab}: {what}" for lab, what in sorted(said) if what]
    if any(r.frame == IMIX and "imix is" not in r.traffic for r in found):
        out.append(
            f"imix is {fmt.mix(OWN_IMIX)} (the smallest larger where headers need it), as in CSIT and TRex"
        )
    return out


def _measured_again(run: Run, found: list[Row]) -> str:
    """Which measurements were invalid and were repeated; their last attempt counts."""
    by_row = {row.key: row for row in found}
    parts = [
        f"{where(by_row[m.key])}, {kind(m)}" for m in run.measurements if m.attempt > 1 and m.key in by_row
    ]
    return f"measured again, the last attempt counts: {'; '.join(parts)}" if parts else ""


def _ratio_notes(found: list[Row]) -> list[str]:
    """What the ratios are of, and why some rows have none, each reason once."""
    basis = ratio_basis(found)
    paths = [r for r in found if not r.is_host]
    out = []
    if any(r.ratio(basis).bound == "at most" for r in paths):
        out.append("≤: at most: the kernel's own figure is a lower bound")
    elsewhere: dict[str, list[str]] = {}
    for r in paths:
        if base := other_link(paths, r, basis):
            elsewhere.setdefault(base, []).append(where(r))
    for base, unlike in elsewhere.items():
        out.append(
            f"vs kernel for {'; '.join(unlike)}: to the kernel on {base}, which is another kind of link: "
            "the link's own cost is in the ratio"
        )
    by_reason: dict[str, list[str]] = {}
    for r in paths:
        # What was not measured has its reason above.
        if (why := r.ratio(basis).why) and r.rate(basis).pps is not None:
            by_reason.setdefault(why, []).append(where(r))
    out += [f"no ratio to the kernel for {'; '.join(rows_)}: {why}" for why, rows_ in by_reason.items()]
    return out


Columns = list[Column]


def _layouts(found: list[Row]) -> list[list[Columns]]:
    """One table of all; rates and times in two; the same with what was measured in one column."""
    timed = [r for r in found if r.rtt_p50_us is not None or r.rtt_50pdr_p50_us is not None]
    mine = Column(head="verdict", cells=tuple(map(_verdict, found)), right=False, style=_style)
    limited = Column(head="limited by", cells=tuple(map(marks.limits, found)), right=False)
    whole = [[*_names(found), *_rates(found), *_times_of(found), limited, mine]]
    apart = [[*_names(found), *_rates(found), mine]]
    short = [[_name(found), *_rates(found), mine]]
    if timed:
        apart.append([*_names(timed), *_times_of(timed)])
        short.append([_name(timed), *_times_of(timed)])
    return [whole, apart, short]


def _names(found: list[Row]) -> Columns:
    return [
        Column(head="backend", cells=tuple(map(name, found)), figure=False, right=False),
        Column(head="link", cells=tuple(map(_link, found)), figure=False, right=False),
        Column(head="frame", cells=tuple(r.frame for r in found), figure=False),
    ]


def _name(found: list[Row]) -> Column:
    cells = tuple(f"{name(r)} {_link(r)} {fmt.frame(r.frame)}" for r in found)
    return Column(head="datapath", cells=cells, figure=False, right=False)


def _link(r: Row) -> str:
    return r.topology if r.topology == r.link else f"{r.topology} ({r.link})"


def _rates(found: list[Row]) -> Columns:
    basis = ratio_basis(found)
    return [
        *(
            Column(head=which.upper(), cells=tuple(_rate(r, which) for r in found))
            for which in ("ndr", "pdr", "mrr")
        ),
        Column(
            head="vs kernel",
            legend=basis.upper(),
            cells=tuple(marks.times_kernel(r.ratio(basis)) for r in found),
        ),
    ]


def _rate(r: Row, which: str) -> str:
    return marks.rate(r.rate(which)) + (marks.invalid(r) if which == "ndr" and r.ndr_invalid else "")


def _times_of(found: list[Row]) -> Columns:
    both = [_both_times(r) for r in found]
    return [
        Column(head=head, legend="p50 / p99 / p99.9 / max", cells=tuple(times[i] for times in both))
        for i, head in enumerate(("RTT idle, µs", "at 50 % PDR, µs"))
    ]


def _host_columns(hosts: list[Row]) -> Columns:
    def times(r: Row) -> str:
        return r.host_note or _times(r.host_p50_us, r.host_p99_us, r.host_p999_us, r.host_max_us)

    def counted(r: Row) -> str:
        return fmt.DASH if r.host_n is None else fmt.count(r.host_n)

    cores = tuple(r.host_cores or fmt.DASH for r in hosts)
    return [
        Column(head="host", cells=tuple(map(name, hosts)), figure=False, right=False),
        Column(head="cores", cells=cores, right=False),
        Column(head="counted", cells=tuple(map(counted, hosts))),
        Column(head="time, µs", legend="p50 / p99 / p99.9 / max", cells=tuple(map(times, hosts))),
        Column(head="verdict", cells=tuple(map(_verdict, hosts)), right=False, style=_style),
    ]


def _testers(beside: Sequence[tuple[ByTester, ...]]) -> Columns:
    """What each tester found of a datapath, and what it adds itself."""
    flat = [one for together in beside for one in together]
    first = {id(together[0]) for together in beside}
    offered = (one.max_offered_load_pps for one in flat)
    return [
        Column(
            head="datapath",
            cells=tuple(where(one.row) if id(one) in first else "" for one in flat),
            figure=False,
            right=False,
        ),
        Column(head="tester", cells=tuple(one.engine for one in flat), right=False),
        *_rates([one.row for one in flat])[:3],
        Column(
            head="max offered",
            cells=tuple(fmt.DASH if value is None else fmt.pps(value) for value in offered),
        ),
        Column(
            head="RTT idle, µs",
            legend="p50 / p99",
            cells=tuple(_times(one.row.rtt_p50_us, one.row.rtt_p99_us) for one in flat),
        ),
        Column(
            head="tester's own, µs",
            legend="p50 / p99",
            cells=tuple(
                _times(one.own_p50_us, one.own_p99_us) + (marks.INVALID if one.own_disturbed else "")
                for one in flat
            ),
        ),
        Column(head="verdict", cells=tuple(_verdict(one.row) for one in flat), right=False, style=_style),
    ]


def _both_times(r: Row) -> list[str]:
    return [
        _times(r.rtt_p50_us, r.rtt_p99_us, r.rtt_p999_us, r.rtt_max_us),
        _times(r.rtt_50pdr_p50_us, r.rtt_50pdr_p99_us, r.rtt_50pdr_p999_us, r.rtt_50pdr_max_us)
        + (marks.invalid(r) if r.rtt_50pdr_invalid else ""),
    ]


def _times(*values: float | None) -> str:
    return fmt.DASH if all(v is None for v in values) else " / ".join(fmt.us(v) for v in values)


def _verdict(row: Row) -> str:
    return row.verdict or fmt.DASH


def _style(verdict: str) -> str:
    return STYLES.get(verdict, "")
