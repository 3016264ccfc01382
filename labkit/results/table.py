"""The table of a run on the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from labkit.results import format as fmt
from labkit.results.flavour import COMMAND_LINE, tuning
from labkit.results.rows import Row, closing_line, rows
from labkit.results.run import Run

STYLES = {"pass": "green", "fail": "bold red", "skip": "cyan", "invalid": "yellow"}


WIDE_COLUMNS = 150
"""From here on one table holds all; on a narrower terminal rates and times stand in two."""


@dataclass(frozen=True)
class RunTable:
    """The rows, why those that didn't pass didn't, what to know of the figures, and the closing counts."""

    run: Run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        everything = rows(self.run)
        hosts, found = ([r for r in everything if r.is_host is wanted] for wanted in (True, False))
        if hosts:
            yield _host_table(hosts)
            yield Text()
        if found and options.max_width >= WIDE_COLUMNS:
            yield _table(found, rates=True, times=True)
        elif found:
            yield _table(found, rates=True, times=False)
            timed = [r for r in found if r.rtt_p50_us is not None or r.rtt_50pdr_p50_us is not None]
            if timed:
                yield Text()
                yield _table(timed, rates=False, times=True)
        for row in everything:
            if row.reason and row.verdict not in (None, "pass"):
                frame = f", {row.frame} B" if row.frame else ""
                where = f" {name(row)} on {row.topology}{frame}: "
                yield Text.assemble((str(row.verdict), STYLES[str(row.verdict)]), where, row.reason)
        for note in notes(self.run, everything):
            yield Text(note, style="dim")
        yield Text(closing_line(self.run), style="bold")


def print_table(run: Run, *, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print the table to `file` (default: stdout), plain where that is no terminal."""
    Console(file=file, width=width, highlight=False).print(RunTable(run))


HOST_NAMES = {
    "hardware": "hardware gaps",
    "wakeup": "wake-up",
    "timerlat": "wake-up, traced",
    "busy_loop": "busy loop kept waiting",
}
"""By kind of measurement: what is said of the host itself."""


def name(row: Row) -> str:
    """The datapath as a row names it: "dpdk net_af_packet IPv6"; of the host itself: "wake-up"."""
    if row.is_host:
        return HOST_NAMES.get(row.mode, row.backend)
    parts = [
        row.backend,
        row.mode,
        "IPv6" if row.ip_version == 6 else "",
        f"{row.flows} flows" if row.flows > 1 else "",
    ]
    return " ".join(p for p in parts if p)


def notes(run: Run, found: list[Row]) -> list[str]:
    """What a reader must know before the figures, in the order of weight."""
    out = []
    if run.state == "interrupted":
        out.append("INTERRUPTED: the run stopped before it was through; what it had finished is here")
    topologies = run.environment.topologies if run.environment else ()
    if simulated := sorted(t.name for t in topologies if t.tier == "simulated"):
        out.append(f"SIMULATED: {', '.join(simulated)}: a model of a DUT; no packet was sent")
    if run.environment and any(r.is_host for r in found):
        told = [f"{what} {value}" for what, value in tuning(run.environment) if what != COMMAND_LINE]
        out.append("host: " + "; ".join(told))
    if run.start.quick:
        out.append("QUICK: short trials, few of them: good for a look, not for a quotation")
    if any(rate.at_least for r in found for rate in r.rates):
        out.append(
            "≥: at least: within 5 % of what the tester itself can do, or no load was found that is too much"
        )
    kernel_links = {r.link for r in found if r.backend == "kernel"}
    if any(r.ratio_to_kernel is not None and r.link not in kernel_links for r in found):
        out.append("vs kernel: on another kind of link than the kernel's row, with the same frames")
    return out


def _table(found: list[Row], *, rates: bool, times: bool) -> Table:
    out = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if rates and times else 1, 0, 0))
    for head in ("backend", "link"):
        out.add_column(head, no_wrap=True)
    out.add_column("frame", justify="right")
    if rates:
        for head in ("NDR", "PDR", "MRR", "vs\nkernel"):
            out.add_column(head, justify="right", no_wrap=True)
    if times:
        for head in ("RTT idle, µs", "at 50 % PDR, µs"):
            out.add_column(f"{head}\np50 / p99 / p99.9 / max", justify="right", no_wrap=True)
    if rates and times:
        out.add_column("limited by", no_wrap=True)  # "≥" says it where there is no room
    if rates:
        out.add_column("verdict", no_wrap=True)
    for r in found:
        words = [name(r), r.topology if r.topology == r.link else f"{r.topology} ({r.link})", r.frame]
        words += _rates(r) if rates else []
        words += _both_times(r) if times else []
        words += [fmt.limits(r)] if rates and times else []
        out.add_row(
            *map(Text, words), *([_verdict(r)] if rates else [])
        )  # Text: brackets in names are no markup
    return out


def _host_table(hosts: list[Row]) -> Table:
    out = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("host", "cores"):
        out.add_column(head, no_wrap=True)
    out.add_column("counted", justify="right", no_wrap=True)
    out.add_column("p50 / p99 / p99.9 / max, µs", justify="right", no_wrap=True)
    out.add_column("verdict", no_wrap=True)
    for r in hosts:
        times = r.host_note or _times(r.host_p50_us, r.host_p99_us, r.host_p999_us, r.host_max_us)
        counted = fmt.DASH if r.host_n is None else fmt.count(r.host_n)
        out.add_row(*map(Text, (name(r), r.host_cores or fmt.DASH, counted, times)), _verdict(r))
    return out


def _rates(r: Row) -> list[str]:
    return [*map(fmt.rate, r.rates), fmt.times_kernel(r)]


def _both_times(r: Row) -> list[str]:
    return [
        _times(r.rtt_p50_us, r.rtt_p99_us, r.rtt_p999_us, r.rtt_max_us),
        _times(r.rtt_50pdr_p50_us, r.rtt_50pdr_p99_us, r.rtt_50pdr_p999_us, r.rtt_50pdr_max_us),
    ]


def _times(*values: float | None) -> str:
    return fmt.DASH if all(v is None for v in values) else " / ".join(fmt.us(v) for v in values)


def _verdict(row: Row) -> Text:
    return Text(row.verdict, style=STYLES[row.verdict]) if row.verdict else Text(fmt.DASH)
