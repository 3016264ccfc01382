"""How predictable a datapath is beside its reference: what the report shows of it, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from labkit import format as fmt
from labkit.measure.latency import LatencyPoint
from labkit.measure.predictability import (
    Predictability,
    SpreadComparison,
    compare,
    interval,
    longest_above_us,
    pdv_us,
    tail_ratio,
    together_us,
)
from labkit.results.axes import Axis, span
from labkit.results.drawing import Dot, Series, plot

DEEP = 99.99
_APART = 0.16
"""Between a load's tick and the dots of a datapath, in steps of the axis."""
_WIDE = 0.22
"""Of the dots of a datapath, beside each other by round."""

Interval = tuple[float, float, float]
"""Low, median and high of the rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadRow:
    """One load: figures of the datapath and of its reference (None: there is none, or too little is known)."""

    load: str
    load_pps: float
    pdv_us: tuple[Interval | None, Interval | None]
    variation: SpreadComparison | None
    """By packet delay variation."""
    tail: tuple[Interval | None, Interval | None]
    """p99.9 over p50 [1]."""
    deep_us: tuple[float | None, float | None]
    """p99.99 of all rounds together."""
    above_us: tuple[float | None, float | None]
    """For how long it was above the limit, the longest of all rounds."""
    lost: tuple[int, int]


def spread_rows(found: Predictability) -> list[SpreadRow]:
    """A row for each load."""
    return [
        SpreadRow(
            load=one.load,
            load_pps=one.load_pps,
            pdv_us=(interval(one.own, pdv_us), interval(one.reference, pdv_us)),
            variation=compare(one, pdv_us),
            tail=(interval(one.own, tail_ratio), interval(one.reference, tail_ratio)),
            deep_us=(together_us(one.own, DEEP), together_us(one.reference, DEEP)),
            above_us=(_longest(one.own), _longest(one.reference)),
            lost=(_lost(one.own), _lost(one.reference)),
        )
        for one in found.spreads
    ]


def _longest(points: Sequence[LatencyPoint]) -> float | None:
    known = [value for point in points if (value := longest_above_us(point)) is not None]
    return max(known) if known and len(known) == len(points) else None


def _lost(points: Sequence[LatencyPoint]) -> int:
    return sum(point.trial.lost for point in points)


def spread_plot(
    found: Predictability, *, title: str, own: tuple[str, str], reference: tuple[str, str], status: str
) -> Markup:
    """Packet delay variation of each round by load, lines through the medians. `own`, `reference`: name and colour."""
    pairs = [(one.own, one.reference) for one in found.spreads]
    values = [v for pair in pairs for points in pair for v in map(pdv_us, points) if v]
    if not values:
        return Markup("")
    ticks = tuple((float(i), one.load) for i, one in enumerate(found.spreads, start=1))
    x = Axis("load", 0.5, len(ticks) + 0.5, ticks, log=False)
    y = span("packet delay variation (p99.9 - min)", values, unit="us")
    series = []
    for which, (label, colour), aside in ((0, own, -_APART), (1, reference, _APART)):
        of_loads = [(i, pair[which]) for i, pair in enumerate(pairs, start=1) if pair[which]]
        if of_loads:
            series.append(_series(label, colour, aside, of_loads, status=status, dash=which))
    words = f"one dot for each of {found.rounds} rounds, a line through their medians"
    return plot(title, words, x, y, series)


def _series(
    label: str,
    colour: str,
    aside: float,
    of_loads: Sequence[tuple[int, Sequence[LatencyPoint]]],
    *,
    status: str,
    dash: int,
) -> Series:
    dots, line = [], []
    for i, points in of_loads:
        for number, point in enumerate(points, start=1):
            value_us = pdv_us(point)
            if value_us:
                place = i + aside + _WIDE * ((number - 0.5) / len(points) - 0.5)
                tip = f"{label} · {point.load} · round {number} · {fmt.duration_us(value_us)}"
                dots.append(Dot(place, value_us, tip))
        middle = interval(points, pdv_us)
        if middle is not None and middle[1] > 0:
            line.append((i + aside, middle[1]))
    return Series(name=label, colour=colour, line=tuple(line), dots=tuple(dots), status=status, dash=dash)


Words = Callable[[float | None], str]


def interval_words(one: Interval | None, words: Words) -> str:
    """The median with its confidence interval: "5.1 (4.8 to 6)"."""
    return fmt.DASH if one is None else f"{words(one[1])} ({words(one[0])} to {words(one[2])})"
