"""The axes of plots: their range, where ticks stand, and which of the ticks' labels have room beside one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from labkit.format import significant


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its range, and where the ticks stand."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = True

    def place(self, value: float) -> float:
        """Where `value` stands, from 0 (low) to 1 (high); beyond the ends it is held at the end."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)


def decades(title: str, values: Sequence[float], unit: str = "") -> Axis:
    """A log axis over whole decades that holds all `values` (> 0): for bars, which need a floor."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = max(math.ceil(math.log10(max(values)) - 1e-9), low + 1)
    ticks = tuple((10.0**power, short(10.0**power, unit)) for power in range(low, high + 1))
    return Axis(title, 10.0**low, 10.0**high, ticks)


def span(title: str, values: Sequence[float], unit: str = "") -> Axis:
    """A log axis from a little under the least to a little over the largest value (> 0).

    Ticks at every decade, at 1, 2 and 5 where there are few decades, evenly where even those are too few.
    """
    low, high = min(values) / 1.15, max(values) * 1.15
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if high / low > 300 else (1, 2, 5)
    marks = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
    if len(marks) < 3:
        marks = _even(low, high)
    return Axis(title, low, high, tuple((m, short(m, unit)) for m in marks))


def _even(low: float, high: float) -> list[float]:
    """Three to six round numbers between two that are not far apart."""
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(m * power for m in (1, 2, 5) if m * power <= rough)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]


def loss_decades(title: str, percents: Sequence[float]) -> Axis:
    """A log axis of losses in per cent up to 100, whose lowest tick is no loss at all."""
    lossy = [p for p in percents if p > 0]
    floor = 10.0 ** (math.floor(math.log10(min(lossy, default=1.0))) - 1)
    powers = range(round(math.log10(floor)) + 1, 3)
    return Axis(
        title, floor, 100.0, ((floor, "0"), *((10.0**p, f"{significant(10.0**p)} %") for p in powers))
    )


def percent(title: str, high: float = 100.0) -> Axis:
    """A linear axis from 0 to `high` per cent."""
    steps = [high * i / 4 for i in range(5)]
    return Axis(title, 0.0, high, tuple((s, f"{s:g} %") for s in steps), log=False)


def short(value: float, unit: str) -> str:
    """A tick's label: "500 k" (pps), "20 µs" (us)."""
    if unit == "us":
        for name, size in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
            if value >= size * (1 - 1e-9):
                return f"{value / size:g} {name}"
        return f"{value * 1e3:g} ns"
    for name, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * (1 - 1e-9):
            return f"{value / size:g} {name}"
    return f"{value:g}"


CHARACTER_PX, GAP_PX = 8.0, 8.0
"""Of a tick's label, at its widest, and between two."""
WIDTHS_PX = (190, 300, 440, 800)
"""Of a plot: from each width on as many labels are shown as have room there. The style sheet knows these, too."""
HEIGHT_SHARE = 0.085
"""Least distance of two labels above one another, in units of the plot's height: of the lowest plot, on paper."""


def labelled(axis: Axis, width_px: float, *, inside: bool = False) -> tuple[tuple[float, str], ...]:
    """The ticks (place from 0 to 1, label) whose labels do not touch one another at that width.

    Powers of ten go first, then halves. `inside`: the outermost labels stand inside the axis, not astride its ends.
    """
    placed = [(axis.place(v), label, _rank(v, axis)) for v, label in axis.ticks]
    last = len(placed) - 1

    def box(index: int) -> tuple[float, float]:
        share, label, _ = placed[index]
        wide = len(label) * CHARACTER_PX
        at = share * width_px
        left = at if inside and index == 0 else at - wide if inside and index == last else at - wide / 2
        return left - GAP_PX / 2, left + wide + GAP_PX / 2

    kept: list[int] = []
    for index in sorted(range(len(placed)), key=lambda i: (placed[i][2], i)):
        left, right = box(index)
        if all(right <= box(k)[0] or left >= box(k)[1] for k in kept):
            kept.append(index)
    return tuple(placed[i][:2] for i in sorted(kept))


def stacked(axis: Axis) -> tuple[tuple[float, str], ...]:
    """The ticks of an upright axis whose labels have room above one another."""
    kept: list[tuple[float, str]] = []
    for value, label in sorted(axis.ticks, key=lambda t: (_rank(t[0], axis), t[0])):
        share = axis.place(value)
        if all(abs(share - other) >= HEIGHT_SHARE for other, _ in kept):
            kept.append((share, label))
    return tuple(sorted(kept))


def _rank(value: float, axis: Axis) -> int:
    """What goes first where not all have room: 0 a power of ten, or any on a linear axis; 1 a 5; 2 others."""
    if not axis.log or value <= 0:
        return 0
    mantissa = value / 10.0 ** math.floor(math.log10(value) + 1e-9)
    return 0 if math.isclose(mantissa, 1) else 1 if math.isclose(mantissa, 5) else 2
