"""Charts as HTML and inline SVG that keep their text readable at any width.

The SVG holds lines only and is stretched to its box; ticks and legends are HTML beside it, placed in percent, so that
a phone shows the same letters as a desktop. Every dot carries its figures (`data-tip`), every chart its title.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

SIZE = 1000
"""The SVG's own width and height; stretched by the browser."""


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


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with its figures in words. `style` is a CSS class."""

    x: float
    y: float
    tip: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A curve: `colour` is a CSS class (c-kernel, load-2), `dash` one of the patterns 0..3."""

    name: str
    colour: str
    line: tuple[tuple[float, float], ...] = ()
    thin_line: tuple[tuple[float, float], ...] = ()
    """Drawn dotted: where the figures stand on too few samples."""
    dots: tuple[Dot, ...] = field(default=())
    dash: int = 0


def decades(title: str, values: Sequence[float], unit: str = "") -> Axis:
    """A log axis over whole decades that holds all `values` (> 0): for bars, which need a floor."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = max(math.ceil(math.log10(max(values)) - 1e-9), low + 1)
    ticks = tuple((10.0**power, short(10.0**power, unit)) for power in range(low, high + 1))
    return Axis(title, 10.0**low, 10.0**high, ticks)


def span(title: str, values: Sequence[float], unit: str = "") -> Axis:
    """A log axis from a little under the least to a little over the largest value (> 0).

    Ticks at every decade, at 1, 2 and 5 where there are few decades.
    """
    low, high = min(values) / 1.15, max(values) * 1.15
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if high / low > 300 else (1, 2, 5)
    marks = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
    return Axis(title, low, high, tuple((m, short(m, unit)) for m in marks))


def loss_decades(title: str, percents: Sequence[float]) -> Axis:
    """A log axis of losses in per cent up to 100, whose lowest tick is no loss at all."""
    lossy = [p for p in percents if p > 0]
    floor = 10.0 ** (math.floor(math.log10(min(lossy, default=1.0))) - 1)
    powers = range(round(math.log10(floor)) + 1, 3)
    return Axis(title, floor, 100.0, ((floor, "0"), *((10.0**p, f"{10.0**p:g} %") for p in powers)))


def percent(title: str, high: float = 100.0) -> Axis:
    """A linear axis from 0 to `high` per cent."""
    steps = [high * i / 4 for i in range(5)]
    return Axis(title, 0.0, high, tuple((s, f"{s:g} %") for s in steps), log=False)


def short(value: float, unit: str) -> str:
    """A tick's label: "500 k" (pps), "20 µs" (us)."""
    if unit == "pps":
        for name, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if value >= size:
                return f"{value / size:g} {name}"
        return f"{value:g}"
    if unit == "us":
        if value >= 1e6:
            return f"{value / 1e6:g} s"
        if value >= 1e3:
            return f"{value / 1e3:g} ms"
        return f"{value:g} µs" if value >= 1 else f"{value * 1e3:g} ns"
    return f"{value:g}"


def plot(
    title: str, description: str, x: Axis, y: Axis, series: Sequence[Series], *, legend: bool = True
) -> Markup:
    """A line chart as a <figure>."""
    lines = Markup("").join(_series(s, x, y) for s in series)
    grid = Markup("").join(
        [
            Markup('<path class="grid" d="M{0:.1f} 0V{1}"/>').format(x.place(v) * SIZE, SIZE)
            for v, _ in x.ticks
        ]
        + [
            Markup('<path class="grid" d="M0 {0:.1f}H{1}"/>').format((1 - y.place(v)) * SIZE, SIZE)
            for v, _ in y.ticks
        ]
    )
    x_ticks = Markup("").join(
        Markup('<span style="left:{:.2f}%">{}</span>').format(x.place(v) * 100, t) for v, t in x.ticks
    )
    y_ticks = Markup("").join(
        Markup('<span style="bottom:{:.2f}%">{}</span>').format(y.place(v) * 100, t) for v, t in y.ticks
    )
    keys = Markup("").join(
        Markup(
            '<li><svg class="swatch {} dash-{}" viewBox="0 0 24 8" aria-hidden="true"><path d="M1 4H23"/></svg>{}</li>'
        ).format(s.colour, s.dash, s.name)
        for s in series
        if s.line or s.thin_line
    )
    return Markup(
        '<figure class="plot"><figcaption>{title}</figcaption>'
        '<p class="y-title">{y}</p><div class="box"><div class="y-ticks" aria-hidden="true">{y_ticks}</div>'
        '<div class="canvas"><svg viewBox="0 0 {size} {size}" preserveAspectRatio="none" role="img"'
        ' aria-label="{aria}">'
        "{grid}{lines}</svg></div>"
        '<div class="x-ticks" aria-hidden="true">{x_ticks}</div></div><p class="x-title">{x}</p>{legend}</figure>'
    ).format(
        title=title,
        aria=f"{title}. {description}",
        x=x.title,
        y=y.title,
        size=SIZE,
        grid=grid,
        lines=lines,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        legend=Markup('<ul class="legend">{}</ul>').format(keys) if legend else "",
    )


def _series(s: Series, x: Axis, y: Axis) -> Markup:
    def at(point: tuple[float, float]) -> str:
        return f"{x.place(point[0]) * SIZE:.1f} {(1 - y.place(point[1])) * SIZE:.1f}"

    out = []
    if len(s.line) > 1:
        out.append(Markup('<path class="line" d="M{}"/>').format("L".join(map(at, s.line))))
    if len(s.thin_line) > 1:
        out.append(Markup('<path class="line thin" d="M{}"/>').format("L".join(map(at, s.thin_line))))
    # A line of no length with round ends is a dot that stays round however the picture is stretched.
    out += [
        Markup('<path class="dot {}" data-tip="{}" d="M{}h0"/>').format(d.style, d.tip, at((d.x, d.y)))
        for d in s.dots
    ]
    return Markup('<g class="{} dash-{}">{}</g>').format(s.colour, s.dash, Markup("").join(out))


def bar(
    axis: Axis, value: float | None, marks: Sequence[tuple[float, str, str]], colour: str, label: str
) -> Markup:
    """A bar on a log axis with marks (value, CSS class, words) on it; all in percent of its box."""
    width = axis.place(value) * 100 if value else 0.0
    ticks = Markup("").join(
        Markup('<i class="rule" style="left:{:.2f}%"></i>').format(axis.place(v) * 100) for v, _ in axis.ticks
    )
    points = Markup("").join(
        Markup('<i class="mark {}" style="left:{:.2f}%" title="{}"></i>').format(
            style, axis.place(v) * 100, words
        )
        for v, style, words in marks
    )
    return Markup(
        '<span class="bar {}" role="img" aria-label="{}">{}<i class="fill" style="width:{:.2f}%"></i>{}</span>'
    ).format(colour, label, ticks, width, points)
