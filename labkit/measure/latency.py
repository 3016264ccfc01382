"""Latency at stated loads, and PDV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from labkit.errors import LabkitBug
from labkit.measure.histogram import merge, percentiles_us, samples_needed
from labkit.measure.tcp import summed
from labkit.measure.trial import COUNTERS, Histogram, Measurer, TrialResult
from labkit.units import Load, parse_load

IDLE_LOAD_PPS = 9000.0
"""The load at which CSIT measures idle latency: negligible for a datapath, yet enough for p99.9 in about a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPoint:
    """Round trips at one load."""

    load: str
    """"idle", "10% PDR", "50% PDR", "90% PDR", or a rate as the user wrote it."""
    load_pps: float
    trial: TrialResult
    n: int
    min_us: float
    p50_us: float
    p90_us: float | None
    p99_us: float | None
    p999_us: float | None
    p9999_us: float | None
    max_us: float
    pdv_us: float | None
    """RFC 5481 / RFC 8219: p99.9 - min. A percentile with fewer than 10/(1-p) samples is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyLadder:
    """Latency at rising loads."""

    pdr_pps: float | None
    points: tuple[LatencyPoint, ...]
    deviations: tuple[str, ...]


DEFAULT_LOADS = tuple([parse_load(text) for text in ("idle", "10% PDR", "50% PDR", "90% PDR")])
PREDICTABILITY_LOADS = DEFAULT_LOADS[:3]
"""Nearer to its limit a datapath's own capacity decides, not how predictable it is."""


def load_rates(loads: Iterable[Load], rates_pps: Mapping[str, float | None]) -> dict[str, float]:
    """The rate of each load by its text [pps], without shares of a rate that was not found, or is nothing.

    Idle is IDLE_LOAD_PPS, or a twentieth of PDR where that is less.
    """
    found = {load.text: _rate(load, rates_pps) for load in loads}
    return {text: rate_pps for text, rate_pps in found.items() if rate_pps}


def _rate(load: Load, rates_pps: Mapping[str, float | None]) -> float | None:
    if load.pps is not None:
        return load.pps
    if load.of is not None and load.share is not None:
        rate_pps = rates_pps.get(load.of)
        return None if rate_pps is None else load.share * rate_pps
    pdr_pps = rates_pps.get("PDR")
    return IDLE_LOAD_PPS if pdr_pps is None else min(IDLE_LOAD_PPS, pdr_pps / 20)


def duration_for(load_pps: float, *, percentile: float = 99.9, min_duration_s: float = 0.5) -> float:
    """How long a trial must be for `percentile` to have its samples, with a tenth to spare for loss [s]."""
    return max(min_duration_s, 1.1 * samples_needed(percentile) / load_pps)


def merge_trials(trials: Sequence[TrialResult]) -> TrialResult:
    """Several trials at one load as one: counts added, histograms merged. Raises LabkitBug for unlike loads."""
    if not trials or len({trial.intended_load_pps for trial in trials}) != 1:
        raise LabkitBug(f"cannot merge trials of loads {[t.intended_load_pps for t in trials]}")
    if len(trials) == 1:
        return trials[0]

    def merged(pick: Callable[[TrialResult], Histogram | None]) -> Histogram | None:
        kept = [histogram for trial in trials if (histogram := pick(trial)) is not None]
        return merge(kept) if kept else None

    times = ("duration_s", "tx_duration_s", "overhead_s", "stall_total_s")
    runs = [trial.longest_above for trial in trials if trial.longest_above is not None]
    busy = [trial.tester_busy for trial in trials if trial.tester_busy is not None]
    totals = {name: sum(getattr(trial, name) for trial in trials) for name in (*COUNTERS, *times)}
    return replace(
        trials[0],
        **totals,
        aborted=any(trial.aborted for trial in trials),
        rtt=merged(lambda trial: trial.rtt),
        service=merged(lambda trial: trial.service),
        lag=merged(lambda trial: trial.lag),
        stall_max_s=max(trial.stall_max_s for trial in trials),
        longest_above=max(runs) if len(runs) == len(trials) else None,
        tester_busy=sum(busy) / len(busy) if busy else None,
        dut={key: sum(trial.dut.get(key, 0.0) for trial in trials) for key in trials[0].dut},
        tcp={end: summed(trial.tcp[end] for trial in trials if end in trial.tcp) for end in trials[0].tcp},
    )


def latency_point(trial: TrialResult, *, load: str) -> LatencyPoint | None:
    """Read a trial's round trips (from the intended send time). None where nothing came back."""
    if trial.rtt is None:
        return None
    known = percentiles_us(trial.rtt, (50, 90, 99, 99.9, 99.99))
    min_us = trial.rtt.min_ns / 1e3
    p50_us, p999_us = known[50], known[99.9]
    return LatencyPoint(
        load=load,
        load_pps=trial.offered_pps if trial.intended_load_pps is None else trial.intended_load_pps,
        trial=trial,
        n=trial.rtt.n,
        min_us=min_us,
        # Of fewer than 20 frames there is no useful median: the slowest is the safe value.
        p50_us=trial.rtt.max_ns / 1e3 if p50_us is None else p50_us,
        p90_us=known[90],
        p99_us=known[99],
        p999_us=p999_us,
        p9999_us=known[99.99],
        max_us=trial.rtt.max_ns / 1e3,
        pdv_us=None if p999_us is None else p999_us - min_us,
    )


def measure_latency(
    measurer: Measurer,
    *,
    pdr_pps: float | None,
    ladder: Mapping[str, float] | None = None,
    trials: int = 1,
    min_duration_s: float = 0.5,
    on_trial: Callable[[TrialResult], None] | None = None,
) -> LatencyLadder:
    """Measure round trips at each load (name to rate [pps]; default: DEFAULT_LOADS), long enough for p99.9.

    With more than one trial a load, their histograms are merged.
    """
    if ladder is None:
        ladder = load_rates(DEFAULT_LOADS, {"PDR": pdr_pps})
    points: list[LatencyPoint] = []
    spent_s: list[float] = []
    silent: list[str] = []
    for load, load_pps in ladder.items():
        duration_s = duration_for(load_pps, min_duration_s=min_duration_s) / trials
        made: list[TrialResult] = []
        for _ in range(trials):
            made.append(measurer.measure(load_pps=load_pps, duration_s=duration_s))
            if on_trial is not None:
                on_trial(made[-1])
        spent_s.append(duration_s)
        point = latency_point(merge_trials(made), load=load)
        if point is None:
            silent.append(f"{load}: nothing came back, so there is no latency")
        else:
            points.append(point)
    deviations = list(silent)
    if min(spent_s, default=0.0) < 120.0:
        deviations.append(f"streams of {min(spent_s, default=0.0):.2g} s, RFC 2544 26.2 asks for 120 s")
    if trials < 20:
        deviations.append(
            f"{trials} trial(s) a load, RFC 2544 26.2 asks for 20; every frame is timed, not one a trial"
        )
    return LatencyLadder(pdr_pps=pdr_pps, points=tuple(points), deviations=tuple(deviations))
