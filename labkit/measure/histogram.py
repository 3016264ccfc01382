"""Reading and merging recorded distributions of times (HdrHistogram, 1 ns to 10 s, 3 digits).

Histograms are merged, never averaged: the mean of two percentiles is not a percentile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from hdrh.histogram import HdrHistogram

from labkit.errors import LabkitBug
from labkit.measure.trial import Histogram

LOWEST_NS = 1
HIGHEST_NS = 10_000_000_000
DIGITS = 3

SAMPLES_BEYOND = 10
"""Samples that must lie beyond a percentile for it to be quoted: p99.9 needs 10 000, p99.99 needs 100 000."""


def decode(histogram: Histogram) -> HdrHistogram:
    """Decode into the hdrhistogram package's own object. Raises LabkitBug where its count is not `n`."""
    decoded = HdrHistogram.decode(histogram.hdr)
    if decoded.get_total_count() != histogram.n:
        raise LabkitBug(f"histogram holds {decoded.get_total_count()} values, its header says {histogram.n}")
    return decoded


def record(values_ns: Mapping[int, int]) -> Histogram:
    """Encode values (in ns, with how often each occurred) the way the probe does."""
    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    n = overflow = total_ns = 0
    for value_ns, count in values_ns.items():
        if value_ns > HIGHEST_NS:
            overflow += count
        recorded_ns = min(max(value_ns, LOWEST_NS), HIGHEST_NS)
        histogram.record_value(recorded_ns, count)
        n += count
        total_ns += recorded_ns * count
    if not n:
        raise LabkitBug("a histogram of no values")
    return Histogram(
        n=n,
        min_ns=max(min(values_ns), LOWEST_NS),
        max_ns=min(max(*values_ns, LOWEST_NS), HIGHEST_NS),
        mean_ns=total_ns / n,
        hdr=histogram.encode().decode("ascii"),
        overflow=overflow,
    )


def merge(histograms: Sequence[Histogram]) -> Histogram:
    """One histogram of all their values. Raises LabkitBug when there are none."""
    if not histograms:
        raise LabkitBug("no histogram to merge")
    if len(histograms) == 1:
        return histograms[0]
    merged = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for each in histograms:
        merged.add(decode(each))
    n = sum(each.n for each in histograms)
    return Histogram(
        n=n,
        min_ns=min(each.min_ns for each in histograms),
        max_ns=max(each.max_ns for each in histograms),
        mean_ns=sum(each.mean_ns * each.n for each in histograms) / n,
        hdr=merged.encode().decode("ascii"),
        overflow=sum(each.overflow for each in histograms),
    )


def samples_needed(percentile: float) -> int:
    """Samples without which `percentile` (0 to 100, exclusive) is not quoted: 10 / (1 - p)."""
    return math.ceil(round(SAMPLES_BEYOND / (1.0 - percentile / 100.0), 6))


def percentiles_us(histogram: Histogram, percentiles: Iterable[float]) -> dict[float, float | None]:
    """Values [us] at the percentiles (0 to 100, exclusive); None where there are too few samples for one.

    The histogram's resolution is rounded up (its highest equivalent value), never beyond the recorded maximum.
    """
    wanted = list(percentiles)
    known = decode(histogram).get_percentile_to_value_dict(wanted)
    return {
        p: min(known[p], histogram.max_ns) / 1e3 if histogram.n >= samples_needed(p) else None for p in wanted
    }


def counts_us(histogram: Histogram) -> list[tuple[float, int]]:
    """Each time that was recorded [us], with how often, ascending; times of one step of the resolution are one."""
    return [
        (max(item.value_iterated_to, LOWEST_NS) / 1e3, item.count_at_value_iterated_to)
        for item in decode(histogram).get_recorded_iterator()
    ]


def curve(histogram: Histogram, *, steps_per_halving: int = 5) -> list[tuple[float, float]]:
    """Points (percentile 0 to 100, value in us) for an HDR plot.

    `steps_per_halving` points for each halving of the distance to 100 %, as far as ten samples lie beyond; the
    maximum is the last point.
    """
    points: list[float] = []
    step = 0
    while True:
        percentile = 100.0 * (1.0 - 0.5 ** (step / steps_per_halving))
        if histogram.n < samples_needed(percentile):
            break
        points.append(percentile)
        step += 1
    known = decode(histogram).get_percentile_to_value_dict(points)
    values = [(p, min(known[p], histogram.max_ns) / 1e3) for p in points]
    return [*values, (100.0, histogram.max_ns / 1e3)]
