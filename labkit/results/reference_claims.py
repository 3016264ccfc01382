"""Reference claims: well-known statements about packet rates and latency, beside what a run measured.

The arithmetic is exact; what was measured is computed from the rows of the run. What was not measured is named as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labkit import format as fmt
from labkit.measure.hosttimes import CLAIM_US
from labkit.measure.latency import LatencyPoint
from labkit.measure.predictability import compare, pdv_us
from labkit.record.model import MESSAGES
from labkit.record.run import Run
from labkit.results.flavour import describe
from labkit.results.lookup import HALF, at_load, doubts, of_kind
from labkit.results.row import Row
from labkit.results.rows import rows
from labkit.targets.rates import Rate

NOT_MEASURED = "not measured here"
GAP_BYTES = 20
"""Preamble, start delimiter and inter-frame gap of Ethernet: on the wire, not in the frame size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceClaim:
    """A statement, what is true of it, and what this run measured."""

    statement: str
    holds: str
    measured: str
    means: str


def gap_ns(frame_bytes: int, link_bps: float) -> float:
    """Time from one frame to the next at line rate [ns]."""
    return (frame_bytes + GAP_BYTES) * 8 / link_bps * 1e9


def reference_claims(run: Run) -> list[ReferenceClaim]:
    """The statements in the order in which they are usually made."""
    doubtful = {m.key for m in run.measurements if doubts(m)}
    modelled = (
        {t.name for t in run.environment.topologies if t.tier == "simulated"} if run.environment else set()
    )
    # What can't be trusted proves nothing, nor does a model.
    found = [
        r
        for r in rows(run)
        if r.key not in doubtful and r.verdict != "invalid" and r.topology not in modelled
    ]
    frames = [r for r in found if r.traffic != MESSAGES]  # a rate of messages is no rate of packets
    return [
        _kernel(frames),
        _line_rate(frames),
        _gap(frames),
        _low_latency(run, frames),
        _onload(run, found),
        _dpdk(run, frames),
    ]


def _rate(row: Row) -> Rate | None:
    """The highest that was forwarded: under overload, or below it where overload silences the path."""
    known = [(rate.pps, rate) for rate in (row.rate("mrr"), row.rate("pdr")) if rate.pps is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _pps(row: Row) -> float:
    rate = _rate(row)
    return (rate.pps or 0.0) if rate else 0.0


def _is_bound(row: Row) -> bool:
    rate = _rate(row)
    return rate is not None and rate.at_least


def _best(found: Iterable[Row], *, frame: str = "64", backend: str | None = None) -> Row | None:
    """The fastest row."""
    able = [
        r
        for r in found
        if r.frame == frame
        and r.verdict != "invalid"
        and backend in (None, r.backend)
        and _rate(r) is not None
    ]
    return max(able, key=_pps, default=None)


def _path(row: Row) -> str:
    return f"{row.backend}{f' {row.mode}' if row.mode else ''} on {row.topology}"


def _rate_words(row: Row) -> str:
    least = "at least " if _is_bound(row) else ""
    return f"{least}{fmt.pps(_pps(row), bound='at least' if least else '')}"


def _kernel(found: list[Row]) -> ReferenceClaim:
    row = _best(found, backend="kernel")
    return ReferenceClaim(
        statement="The kernel does about 1 Mpps.",
        holds="The right order for one core and a full-stack path, not a limit of a host: with one 3.6 GHz core the "
        "authors of XDP (CoNEXT 2018) saw 1.74 Mpps of IPv4 forwarding and 4.8 Mpps of early drops.",
        measured=f"{_rate_words(row)} at 64 B, {_path(row)}" if row else NOT_MEASURED,
        means="One core, and the link's own cost is in the figure. It is no forecast for a NIC, "
        "and no measure of what several cores do.",
    )


def _line_rate(found: list[Row]) -> ReferenceClaim:
    line_pps = 1e9 / gap_ns(64, 10e9)
    row = _best(found)
    measured = NOT_MEASURED
    if row:
        share = _pps(row) / line_pps
        measured = (
            f"{_rate_words(row)} at 64 B, {_path(row)}: {fmt.significant(share * 100, 2)} % of that rate"
        )
    return ReferenceClaim(
        statement="A 10 Gb/s NIC does 10 Mpps.",
        holds=f"10 GbE carries {line_pps / 1e6:.2f} Mpps of 64-byte frames, one every {gap_ns(64, 10e9):.1f} ns; "
        "10 Mpps is two thirds of it.",
        measured=measured,
        means="How often a core can send, check and receive a frame here. There was no wire: no PCIe, "
        "no descriptor ring of a NIC, no cable.",
    )


def _gap(found: list[Row]) -> ReferenceClaim:
    parts = []
    for frame in ("64", "1518"):
        row = _best(found, frame=frame)
        if row and (rate := _pps(row)):
            bound = "at most " if _is_bound(row) else ""
            parts.append(
                f"{bound}{fmt.significant(1e9 / rate, bound=bound.strip())} ns a frame at {frame} B ({_path(row)})"
            )
    return ReferenceClaim(
        statement="At 200 Gb/s there are 61 ns between packets.",
        holds=f"True of 1518-byte frames ({gap_ns(1518, 200e9):.1f} ns). At 64 B it is {gap_ns(64, 200e9):.2f} ns, "
        f"{1e3 / gap_ns(64, 200e9):.1f} Mpps.",
        measured="; ".join(parts) or NOT_MEASURED,
        means="The mean time that the fastest path needed for a frame, on one core. "
        "A budget of 3.36 ns is met by many cores and queues, not by one.",
    )


def _low_latency(run: Run, found: list[Row]) -> ReferenceClaim:
    row = next((r for r in found if r.backend == "kernel" and not r.mode and r.rtt_p50_us is not None), None)
    # With a DUT on another machine it is that one's kernel, which is in its own record.
    kernel = run.environment.kernel if run.environment and not run.environment.hosts else None
    flavour = describe(kernel) if kernel else "kernel unknown"
    wakeup = next((r for r in found if r.is_host and r.mode == "wakeup" and r.host_max_us is not None), None)
    measured = f"wake-up latency: {NOT_MEASURED}"
    if wakeup and wakeup.host_max_us is not None:
        side = "within" if wakeup.host_max_us + 1 <= CLAIM_US else "beyond"
        measured = (
            f"wake-ups (cyclictest, cores {wakeup.host_cores}): {fmt.duration_us(wakeup.host_p50_us)} (p50), "
            f"{fmt.duration_us(wakeup.host_p999_us)} (p99.9), {fmt.duration_us(wakeup.host_max_us)} (max), "
            f"in this run {side} 0.1 ms"
        )
    if row:
        measured += (
            f"; a round trip through kernel sockets took {fmt.duration_us(row.rtt_p50_us)} (p50), "
            f"{fmt.duration_us(row.rtt_p999_us)} (p99.9), {fmt.duration_us(row.rtt_max_us)} (max), {flavour}"
        )
    return ReferenceClaim(
        statement="A low-latency kernel gets down to 0.1 ms.",
        holds="True of how soon a woken thread runs, as audio needs it. It is neither network latency nor a bound.",
        measured=measured,
        means="Two different things that share a unit. The longest wake-up of a short run is no bound: sign-offs take "
        "hours. Whether a kernel flavour helps needs both kernels on one machine (labkit compare).",
    )


def _onload(run: Run, found: list[Row]) -> ReferenceClaim:
    compared = {row.key: words for row in found if (words := _more_predictable(run, row))}
    variations = []
    for row in found:
        p = _at_half(run, row)
        if p is not None and p.pdv_us is not None and row.frame == "64":
            variations.append((row, p.pdv_us))
    onload = [(r, pdv) for r, pdv in variations if r.backend == "onload"]
    shown = onload or sorted(variations, key=lambda s: s[1])[:3]
    words = ", ".join(f"{_path(r)} {fmt.duration_us(pdv)}" for r, pdv in shown)
    known = onload or any(row.backend == "onload" and row.key in compared for row in found)
    measured = [] if known else [f"Onload: {NOT_MEASURED}"]
    if compared:
        measured += compared.values()
    elif words:
        measured.append(f"packet delay variation (p99.9 - min) at {HALF}: {words}")
    return ReferenceClaim(
        statement="OpenOnload makes latency more predictable.",
        holds="True of the NICs that it is made for (Solarflare, AMD). Over AF_XDP its own project calls it "
        "not of release quality, and users report it slower than the kernel.",
        measured="; ".join(measured),
        means="Predictable is a small packet delay variation at the load that you run, not a small median when idle.",
    )


def _more_predictable(run: Run, row: Row) -> str:
    """Whether it is more predictable than the kernel here, with the evidence; empty: that was not compared."""
    measurement = of_kind(run, row.key, "predictability")
    if measurement is None or measurement.predictability is None or doubts(measurement):
        return ""
    answers = []
    for spread in measurement.predictability.spreads:
        one = compare(spread, pdv_us)
        if one is None and spread.reference:
            answers.append(
                f"no answer at {spread.load} (too few samples, or more than 0.1 % of the frames lost)"
            )
        elif one is not None:
            answers.append(
                f"{one.answer} at {spread.load} ({fmt.duration_us(one.own)} against {fmt.duration_us(one.reference)}, "
                f"ratio {fmt.significant(one.ratio)} from {fmt.significant(one.low)} to {fmt.significant(one.high)})"
            )
    if not answers:
        return ""
    rounds = measurement.predictability.rounds
    return (
        f"is {_path(row)} more predictable than the kernel here, by its packet delay variation in {rounds} rounds? "
        + ", ".join(answers)
    )


def _at_half(run: Run, row: Row) -> LatencyPoint | None:
    """Its latency at 50 % of PDR, where that can be trusted."""
    found = at_load(run, row.key, HALF)
    return None if found is None or doubts(found[0], HALF) else found[1]


def _dpdk(run: Run, found: list[Row]) -> ReferenceClaim:
    row = _best([r for r in found if _at_half(run, r) is not None], backend="dpdk")
    measured = f"interrupts of a NIC: {NOT_MEASURED} (there is none)"
    if row:
        measured += (
            f"; {_path(row)} at {HALF}: p50 {fmt.duration_us(row.rtt_50pdr_p50_us)}, "
            f"max {fmt.duration_us(row.rtt_50pdr_max_us)}"
        )
    return ReferenceClaim(
        statement="DPDK takes no interrupts.",
        holds="Right: it polls, and keeps its core at 100 % always. The tail stays: the authors of XDP saw a mean of "
        "2 to 3 µs and a maximum of 161 to 189 µs.",
        measured=measured,
        means="What a poller still waits for is the machine: the timer tick, the hypervisor, other work on its core.",
    )
