"""What a measurement says of each metric, with the spread inside its own run: what two runs are compared by.

A spread is what the method leaves open (the width of a search, the confidence interval of a median or of a
percentile), not what a repetition would bring: that is more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, sqrt

from labkit.measure.histogram import SAMPLES_BEYOND, decode, samples_needed
from labkit.measure.trial import Histogram
from labkit.metrics import METRICS, Observed
from labkit.results.model import Measurement
from labkit.results.rows import host_times
from labkit.targets import GATE_SCOPE

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
    better: str
    """high or low."""
    value: float | None
    """None: below what the method can see (then `high` says at most what)."""
    low: float
    high: float | None
    """Ends of the spread; None: no upper limit was found ("at least")."""
    invalid: str = ""
    """Why it can't be trusted; empty: it can."""


def readings(measurement: Measurement) -> Iterator[Reading]:
    """Every metric that can be compared of a measurement."""
    for name in ("ndr", "pdr", "mrr"):
        if measurement.kind in METRICS[name].kinds:
            seen = METRICS[name].read(measurement, None, None)
            if isinstance(seen, Observed):
                yield Reading(
                    metric=name,
                    unit="pps",
                    better="high",
                    value=seen.quoted,
                    low=seen.low,
                    high=seen.high,
                    invalid=_invalid(measurement, name),
                )
    invalid = _invalid(measurement, "")
    if measurement.latency is not None:
        for point in measurement.latency.points:
            if point.trial.rtt is not None:
                yield from _times(point.trial.rtt, f" {point.load}", invalid)
    if (times := host_times(measurement)) is not None:
        slowest = times.worst("max_us")
        # The rarest times are what a busy loop is about: all others are turns of the loop itself.
        names = (MAX,) if measurement.busy_loop is not None else (*PERCENTILES, MAX)
        for name in names:
            field = f"{name.replace('.', '')}_us"
            worst = times.worst(field) if name != MAX else slowest
            if worst is not None:
                for reading in _times(worst.times, "", invalid, step_us=times.resolution_us):
                    if reading.metric == name:
                        yield reading
    if (gaps := measurement.hardware) is not None:
        yield Reading(
            metric=MAX,
            unit="us",
            better="low",
            value=gaps.max_us,
            low=0.0 if gaps.max_us is None else gaps.max_us,
            high=gaps.threshold_us if gaps.max_us is None else gaps.max_us,
            invalid=invalid,
        )


def _times(histogram: Histogram, at: str, invalid: str, *, step_us: float = 0.0) -> Iterator[Reading]:
    """Percentiles that have their samples, each with the interval of its rank, and the maximum.

    A maximum is one sample: its spread begins where ten samples lie beyond. `step_us` is what the tool cut off.
    """
    known = decode(histogram)

    def at_share(share: float) -> float:
        return min(float(known.get_value_at_percentile(100.0 * min(share, 1.0))), histogram.max_ns) / 1e3

    def cut(us: float) -> float:
        """What the histogram's own resolution added to a time that was cut off is taken off again."""
        return float(floor(us)) if step_us else us

    for name, percentile in PERCENTILES.items():
        if histogram.n >= samples_needed(percentile):
            share = percentile / 100.0
            margin = Z95 * sqrt(share * (1.0 - share) / histogram.n)
            yield Reading(
                metric=f"{name}{at}",
                unit="us",
                better="low",
                value=cut(at_share(share)),
                low=cut(at_share(share - margin)),
                high=at_share(share + margin) + step_us,
                invalid=invalid,
            )
    tail = cut(at_share(1.0 - SAMPLES_BEYOND / histogram.n)) if histogram.n > SAMPLES_BEYOND else 0.0
    longest = histogram.max_ns / 1e3
    yield Reading(
        metric=f"{MAX}{at}",
        unit="us",
        better="low",
        value=longest,
        low=tail,
        high=longest + step_us,
        invalid=invalid,
    )


def _invalid(measurement: Measurement, metric: str) -> str:
    """The first reason why it can't be trusted."""
    if not measurement.proof.proven:
        return f"not proven: {measurement.proof.claim}"
    for gate in measurement.gates:
        scope = GATE_SCOPE.get(gate.name)
        if gate.state == "invalid" and (scope is None or metric in scope):
            return f"gate {gate.name}: {gate.value}"
    return ""
