"""Times over the percentile, both axes logarithmic: the plot that HdrHistogram made usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from labkit import format as fmt
from labkit.measure.histogram import curve, percentiles_us
from labkit.measure.trial import Histogram
from labkit.results.axes import Axis, span
from labkit.results.drawing import Dot, Series, doubted, plot

PERCENTILES = {
    0: "p0",
    1: "p90",
    2: "p99",
    3: "p99.9",
    4: "p99.99",
    5: "p99.999",
    6: "p99.9999",
    7: "p99.99999",
}
"""Power of ten of 1 / (1 - p): the x axis of an HDR plot."""

QUOTED = (50, 90, 99, 99.9, 99.99)
"""Percentiles that get a dot, as far as there are samples for them."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One distribution of times, and how it is drawn."""

    name: str
    colour: str
    dash: int
    times: Histogram
    status: str


def over_percentile(title: str, curves: Sequence[Curve], *, what: str = "round trip") -> Markup:
    """An HDR plot: time over percentile, both axes logarithmic."""
    drawn = [(c, [(rarity(p, c.times.n), us) for p, us in curve(c.times)]) for c in curves if c.times.n > 0]
    seen_us = [us for _, points in drawn for _, us in points if us > 0]
    if not seen_us:
        return Markup("")
    most = max(max(c.times.n for c, _ in drawn) * 1.3, 12.0)
    ticks = tuple((10.0**p, word) for p, word in PERCENTILES.items() if 10.0**p <= most)
    x = Axis("percentile", 1.0, most, ticks)
    y = span(what, seen_us, unit="us")
    series = [
        Series(
            name=c.name,
            colour=c.colour,
            dash=c.dash,
            line=tuple(points[:-1]),
            thin_line=tuple(points[-2:]),
            dots=_percentile_dots(c.name, c.times),
            status=c.status,
        )
        for c, points in drawn
    ]
    names = ", ".join(doubted(s.name, s.status) for s in series)
    return plot(title, f"{what} over percentile for {names}", x, y, series)


def rarity(percentile: float, n: int) -> float:
    """1 / (1 - p), the x axis of an HDR plot; the maximum (100) is one of `n`."""
    return n if percentile >= 100 else 1 / (1 - percentile / 100)


def _percentile_dots(label: str, histogram: Histogram) -> tuple[Dot, ...]:
    quoted = percentiles_us(histogram, QUOTED)
    dots = [
        Dot(rarity(p, histogram.n), us, f"{label} · p{p:g} {fmt.duration_us(us)}")
        for p, us in quoted.items()
        if us is not None
    ]
    worst = histogram.max_ns / 1e3
    words = f"{label} · max {fmt.duration_us(worst)} of {fmt.count(histogram.n)}"
    return (*dots, Dot(float(histogram.n), worst, words, "hollow"))
