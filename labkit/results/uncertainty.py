"""Each metric of a measurement with its uncertainty: the interval that two runs are compared by.

It is the uncertainty inside one run, for what the method leaves open: the bounds of a search, the 95 % confidence
interval of a median (MRR, over its trials) or of a percentile (over its samples). What differs from run to run is not
in it, and is more. A maximum has no confidence interval: its lower end is where ten samples lie beyond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import floor, sqrt

from labkit.measure.gate import GATE_SCOPE, concerns
from labkit.measure.histogram import SAMPLES_BEYOND, decode, samples_needed
from labkit.measure.trial import Histogram, TrialResult
from labkit.record.model import HostKey, Measurement
from labkit.results.lookup import host_times
from labkit.targets.evaluation import engine_of
from labkit.targets.metrics import METRICS
from labkit.targets.observed import Observed
from labkit.targets.time_readers import stalled

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}
MAX = "max"
Z95 = 1.96
"""Standard deviations of a 95 % confidence interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One metric of one measurement."""

    metric: str
    """ndr, pdr, mrr; of times "p99.9 idle" (at a load), of the host itself "p99.9"."""
    unit: str
    """pps or us."""
    value: float | None
    """None: below what the method can resolve (then `high` is the upper bound)."""
    low: float
    high: float | None
    """Ends of the interval; None: no upper limit was found ("at least")."""
    invalid: str = ""
    """Why it can't be trusted; empty: it can."""
    doubt: str = ""
    """Why the time may be so long through no fault of the DUT: then it is not called the longer one."""
    over_s: float | None = None
    """How long was measured, of a maximum; None where the duration does not matter."""
    load_pps: float | None = None
    """None: at no load, or at one that the method chose."""
    cores: str = ""
    """On which cores tester and DUT ran, as read back; empty of the host itself, whose cores have rows of their own."""
    tester: str = ""
    """The tester's engine on interfaces: what it offers, and adds to a round trip, is its own."""
    judged: bool = True
    """Whether the kernel can be its cause."""


def readings(measurement: Measurement) -> Iterator[Reading]:
    """Every metric that can be compared of a measurement."""
    cores = "" if isinstance(measurement.key, HostKey) else _cores(measurement)
    tester = engine_of(measurement) or ""
    for name in ("ndr", "pdr", "mrr"):
        if measurement.kind in METRICS[name].kinds:
            seen = METRICS[name].read(measurement, None, None)
            if isinstance(seen, Observed):
                yield Reading(
                    metric=name,
                    unit="pps",
                    value=seen.quoted,
                    low=seen.low,
                    high=seen.high,
                    invalid=_invalid(measurement, name),
                    cores=cores,
                    tester=tester,
                )
    invalid = _invalid(measurement, "")
    if measurement.latency is not None:
        for point in measurement.latency.points:
            if (rtt := point.trial.rtt) is not None:
                at_load = _invalid(measurement, "", load=point.load)
                for reading in _times(rtt, rtt, f" {point.load}", at_load, over_s=point.trial.duration_s):
                    yield replace(
                        reading,
                        load_pps=point.load_pps,
                        cores=cores,
                        tester=tester,
                        doubt=_doubt(reading, point.trial),
                    )
    if (times := host_times(measurement)) is not None:
        # Only the longest time of a busy loop means anything: all others are turns of the loop itself.
        names = (MAX,) if measurement.busy_loop is not None else (*PERCENTILES, MAX)
        for name in names:
            worst = times.worst(f"{name.replace('.', '')}_us")
            if worst is not None:
                for reading in _times(
                    worst.times,
                    worst.at_least or worst.times,
                    "",
                    invalid,
                    step_us=times.resolution_us,
                    over_s=times.duration_s,
                ):
                    if reading.metric == name:
                        yield reading
    if (gaps := measurement.hardware) is not None:
        yield Reading(
            metric=MAX,
            unit="us",
            value=gaps.max_us,
            low=0.0,
            high=gaps.threshold_us if gaps.max_us is None else gaps.max_us,
            invalid=invalid,
            judged=False,
        )


def _times(
    histogram: Histogram,
    at_least: Histogram,
    at: str,
    invalid: str,
    *,
    step_us: float = 0.0,
    over_s: float,
) -> Iterator[Reading]:
    """Percentiles that have their samples, each with the interval of its rank, and the maximum.

    A maximum is one sample: its interval begins where ten samples lie beyond. `at_least` has only what surely was: the
    hundred wake-ups that one stall omitted are one event, and are no hundred samples that make a rank more certain.
    The interval spans both histograms. `step_us` is what the tool cut off.
    """
    n = at_least.n
    ranks = {
        name: (share, share - margin, share + margin)
        for name, percentile in PERCENTILES.items()
        if n >= samples_needed(percentile)
        for share in (percentile / 100.0,)
        for margin in (Z95 * sqrt(share * (1.0 - share) / n),)
    }
    tail = 1.0 - SAMPLES_BEYOND / n if n > SAMPLES_BEYOND else 1.0
    # In one pass over a histogram: each pass is over all its buckets.
    percentiles = [100.0 * min(share, 1.0) for share in (*chain.from_iterable(ranks.values()), tail)]
    both = [(decode(h).get_percentile_to_value_dict(percentiles), h.max_ns) for h in (histogram, at_least)]

    def at_share(share: float) -> list[float]:
        return [min(float(known[100.0 * min(share, 1.0)]), max_ns) / 1e3 for known, max_ns in both]

    def cut(us: float) -> float:
        """What the histogram's own resolution added to a time that was cut off is taken off again."""
        return float(floor(us)) if step_us else us

    for name, (share, below, above) in ranks.items():
        yield Reading(
            metric=f"{name}{at}",
            unit="us",
            value=cut(at_share(share)[0]),
            low=cut(min(at_share(below))),
            high=max(at_share(above)) + step_us,
            invalid=invalid,
        )
    longest = histogram.max_ns / 1e3
    yield Reading(
        metric=f"{MAX}{at}",
        unit="us",
        value=longest,
        low=cut(min(at_share(tail))) if n > SAMPLES_BEYOND else 0.0,
        high=longest + step_us,
        invalid=invalid,
        over_s=over_s,
    )


def _cores(measurement: Measurement) -> str:
    """Such as "tester on 0, dut on 1"; empty where it was not read back."""
    return next((g.value for g in measurement.gates if g.name == "affinity"), "")


def _doubt(reading: Reading, trial: TrialResult) -> str:
    """Whether the tester's own stalls are enough to make the time what it is."""
    percentile = PERCENTILES.get(reading.metric.split()[0])
    return stalled(trial, percentile, (reading.value or 0.0) / 1e6)


def _invalid(measurement: Measurement, metric: str, *, load: str | None = None) -> str:
    """The first reason why it can't be trusted (at that load)."""
    if not measurement.proof.proven:
        return f"not proven: {measurement.proof.claim}"
    for gate in measurement.gates:
        scope = GATE_SCOPE.get(gate.name)
        in_scope = (scope is None or metric in scope) and (load is None or concerns(gate, load))
        if gate.state == "invalid" and in_scope:
            return f"gate {gate.name}: {gate.value}"
    return ""
