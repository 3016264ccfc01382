"""The table of a run on the terminal."""

from __future__ import annotations

from typing import IO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from labkit.results import format as fmt
from labkit.results.rows import Row, closing_line, rows
from labkit.results.run import Run

STYLES = {"pass": "green", "fail": "bold red", "skip": "cyan", "invalid": "yellow"}


def table(run: Run) -> RenderableType:
    """The rows, what they don't say, and how many passed, failed, were skipped and were invalid."""
    found = rows(run)
    return Group(_table(found), *(Text(n, style="dim") for n in notes(run, found)), Text(closing_line(run)))


def print_table(run: Run, *, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print the table to `file` (default: stdout), plain where that is no terminal."""
    Console(file=file, width=width, highlight=False).print(table(run))


def name(row: Row) -> str:
    """The datapath as a row names it: "dpdk net_af_packet IPv6"."""
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
    if run.start.quick:
        out.append("QUICK: short trials, few of them: good for a look, not for a quotation")
    if any(r.limited_by == "tester" for r in found):
        out.append("≥: at least; within 5 % of what the tester itself can do")
    if any(r.ratio_to_kernel is not None and r.topology != "veth" and r.backend != "kernel" for r in found):
        out.append("vs kernel: on another kind of link than the kernel's row, with the same frames")
    return out


def _table(found: list[Row]) -> Table:
    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("backend", no_wrap=True)
    out.add_column("link")
    for head in (
        "frame",
        "NDR",
        "PDR",
        "MRR",
        "vs kernel",
        "RTT µs idle\np50 / p99 / p99.9 / max",
        "at 50 % PDR",
    ):
        out.add_column(head, justify="right", no_wrap=True)
    out.add_column("limited by")
    out.add_column("verdict", overflow="fold")
    for r in found:
        mark = "≥ " if r.limited_by == "tester" else ""
        out.add_row(
            name(r),
            r.topology if r.topology == r.link else f"{r.topology} ({r.link})",
            r.frame,
            *(fmt.DASH if v is None else f"{mark}{fmt.pps(v)}" for v in (r.ndr_pps, r.pdr_pps, r.mrr_pps)),
            fmt.ratio(r.ratio_to_kernel if r.ratio_to_kernel is not None else r.mrr_ratio_to_kernel),
            _times(r.rtt_p50_us, r.rtt_p99_us, r.rtt_p999_us, r.rtt_max_us),
            _times(r.rtt_50pdr_p50_us, r.rtt_50pdr_p99_us, r.rtt_50pdr_p999_us, r.rtt_50pdr_max_us),
            r.limited_by or fmt.DASH,
            _verdict(r),
        )
    return out


def _times(*values: float | None) -> str:
    return fmt.DASH if all(v is None for v in values) else " / ".join(fmt.us(v) for v in values)


def _verdict(row: Row) -> Text:
    if row.verdict is None:
        return Text(fmt.DASH)
    text = Text(row.verdict, style=STYLES[row.verdict])
    if row.reason and row.verdict != "pass":
        text.append(f": {row.reason}", style="default")
    return text
