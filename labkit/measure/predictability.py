"""Is one datapath more predictable than another? Rounds in random order, and an answer that may be "undecided".

Predictable is a small spread of the round trips, not a small median. A spread of one run says little of the next one,
so both datapaths are measured in many short rounds at the same offered loads, and compared within each round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from labkit.measure.histogram import merge, percentiles_us
from labkit.measure.latency import LatencyPoint
from labkit.measure.rates import median_interval

Answer = Literal["yes", "no", "undecided"]
CONFIDENCE = 0.99
"""So that more than 95 of 100 answers are right, also of two equal datapaths."""
FEWEST_ROUNDS = 6
"""From their smallest to their largest value is a confidence interval of 96.9 %; that of fewer is none to decide by."""


MOST_LOST = 0.001
"""Share of the frames beyond p99.9: where more are lost, p99.9 of those that came back is not that of the datapath."""


def pdv_us(point: LatencyPoint) -> float | None:
    """Packet delay variation (RFC 5481): p99.9 less the minimum [us].

    None where it had too few samples, or where more than MOST_LOST did not come back: a lost frame has no delay, and a
    datapath that drops its slow frames would look predictable.
    """
    lossy = point.trial.lost > MOST_LOST * point.trial.sent
    return None if lossy else point.pdv_us


def tail_ratio(point: LatencyPoint) -> float | None:
    """p99.9 over p50 [1]: how much longer than usual a rare round trip is. None: see `pdv_us`."""
    if pdv_us(point) is None or point.p999_us is None or not point.p50_us:
        return None
    return point.p999_us / point.p50_us


def together_us(points: Sequence[LatencyPoint], percentile: float) -> float | None:
    """A percentile of all rounds together [us]. None where there are too few samples even so, or too many are lost.

    Rounds are short: p99.99 needs 100 000 round trips, which one of them does not have.
    """
    lost, sent = (sum(getattr(point.trial, name) for point in points) for name in ("lost", "sent"))
    times = [point.trial.rtt for point in points if point.trial.rtt is not None]
    if not times or lost > (1 - percentile / 100) * sent:
        return None
    return percentiles_us(merge(times), [percentile])[percentile]


def longest_above_us(point: LatencyPoint) -> float | None:
    """How long the datapath was above the limit at the longest [us]: frames in a row that were, over the load.

    A frame that did not come back, or that a later one overtook, counts as one of them. None: no limit was given, or
    the tester does not count them.
    """
    run = point.trial.longest_above
    return None if run is None else run / point.load_pps * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Both datapaths at one load."""

    load: str
    """As in a latency; with " beside ..." where a noisy neighbour ran meanwhile."""
    load_pps: float
    """The same for both."""
    own: tuple[LatencyPoint, ...]
    """By round."""
    reference: tuple[LatencyPoint, ...]
    """By round; empty: there is none to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictability:
    """A datapath beside its reference."""

    against: str
    """Id of the reference's row; empty: there is none."""
    spreads: tuple[Spread, ...]
    rounds: int
    """That count."""
    disturbed: int
    """Rounds that were made again, because a gate made them invalid."""
    limit_us: float | None = None
    """What `longest_above_us` is about. None: no limit was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadComparison:
    """A figure of both datapaths, round by round."""

    answer: Answer
    """Whether the datapath's is smaller than the reference's."""
    ratio: float
    """Median of the rounds' ratios, own over reference [1]."""
    low: float
    high: float
    """Its confidence interval."""
    own: float
    reference: float
    """Medians of the rounds."""


def compare(spread: Spread, figure: Callable[[LatencyPoint], float | None]) -> SpreadComparison | None:
    """Compare by a figure of which less is better. None: there is no reference, or a round does not have the figure.

    Yes (no) where the whole confidence interval of the median ratio is below (above) 1; by order statistics, so that
    nothing is assumed of how the spreads are distributed. Of two equal datapaths more than 95 of 100 answers are
    "undecided".
    """
    pairs = [(figure(own), figure(other)) for own, other in zip(spread.own, spread.reference, strict=False)]
    known = [(own, other) for own, other in pairs if own is not None and other]
    if not known or len(known) < len(pairs):
        return None
    ratios = [own / other for own, other in known]
    low, high = median_interval(ratios, confidence=CONFIDENCE)
    answer: Answer = "undecided"
    if len(known) >= FEWEST_ROUNDS:
        answer = "yes" if high < 1 else "no" if low > 1 else "undecided"
    return SpreadComparison(
        answer=answer,
        ratio=median(ratios),
        low=low,
        high=high,
        own=median(own for own, _ in known),
        reference=median(other for _, other in known),
    )


def interval(
    points: Sequence[LatencyPoint], figure: Callable[[LatencyPoint], float | None]
) -> tuple[float, float, float] | None:
    """Confidence interval and median of a figure over the rounds: low, median, high. None: a round has it not."""
    values = [figure(point) for point in points]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    low, high = median_interval(known, confidence=CONFIDENCE)
    return low, median(known), high
