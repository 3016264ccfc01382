"""Plots and bars drawn as HTML and inline SVG that keep their text readable at any width.

The SVG holds lines only and is stretched to its box; ticks and legends are HTML beside it, placed in percent, so that
a phone shows the same letters as a desktop. Every dot carries its figures (`data-tip`), every plot its title.
What can't be trusted is hatched, and says so: in the legend, in the title and to a screen reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from labkit.results.axes import WIDTHS_PX, Axis, labelled, stacked

SIZE = 1000
"""The SVG's own width and height; stretched by the browser."""

DOUBTS = {
    "invalid": "Hatched: invalid. A gate says that the figure can't be trusted.",
    "simulated": "Hatched: simulated. A model of a DUT, no packet was sent.",
}
"""What a status of a series or a bar means, for the legend."""


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
    """Drawn dotted: where too few samples support the figures."""
    dots: tuple[Dot, ...] = field(default=())
    dash: int = 0
    status: str = ""
    """Why it can't be trusted, one of DOUBTS; empty: it can."""
    band: tuple[float, float | None] | None = None
    """From one x to another, the whole height; None: to the end, for no upper bound is known."""


@dataclass(frozen=True, slots=True)
class Whisker:
    """What lies between two bounds, on a bar; `style` is a CSS class."""

    style: str
    low: float | None
    """None: no lower bound."""
    high: float | None
    """None: no upper bound is known."""
    words: str


def x_ticks(axis: Axis, *, inside: bool = False) -> Markup:
    """The labels under an axis, once for each of WIDTHS_PX: the style sheet shows those that fit."""
    rows = []
    for width_px in WIDTHS_PX:
        labels = labelled(axis, width_px, inside=inside)
        ends = {axis.place(axis.ticks[0][0]): "start", axis.place(axis.ticks[-1][0]): "end"} if inside else {}
        spans = Markup("").join(
            Markup('<span class="{}" style="left:{:.2f}%">{}</span>').format(
                ends.get(at, "mid"), at * 100, text
            )
            for at, text in labels
        )
        rows.append(Markup('<span class="x-ticks from-{}">{}</span>').format(width_px, spans))
    return Markup('<span class="x-axis" aria-hidden="true">{}</span>').format(Markup("").join(rows))


def plot(
    title: str, description: str, x: Axis, y: Axis, series: Sequence[Series], *, legend: bool = True
) -> Markup:
    """A line plot as a <figure>."""
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
    y_ticks = Markup("").join(
        Markup('<span style="bottom:{:.2f}%">{}</span>').format(at * 100, text) for at, text in stacked(y)
    )
    keys = Markup("").join(_key(s) for s in series if s.line or s.thin_line or s.band)
    doubts = list(dict.fromkeys(s.status for s in series if s.status))
    keys += Markup("").join(Markup('<li class="doubt">{}{}</li>').format(HATCH, DOUBTS[d]) for d in doubts)
    doubted = "".join(f" {DOUBTS[d]}" for d in doubts)
    badges = Markup("").join(Markup(' <span class="badge v-{}">{}</span>').format(d, d) for d in doubts)
    if any(not s.status for s in series):
        badges = Markup("")  # of one among others the legend says which
    return Markup(
        '<figure class="plot"><figcaption>{title}{badges}</figcaption>'
        '<p class="y-title">{y}</p><div class="box"><div class="y-ticks" aria-hidden="true">{y_ticks}</div>'
        '<div class="canvas"><svg viewBox="0 0 {size} {size}" preserveAspectRatio="none" role="img"'
        ' aria-label="{aria}">'
        "{grid}{lines}</svg></div>"
        '{x_ticks}</div><p class="x-title">{x}</p>{legend}</figure>'
    ).format(
        title=title,
        badges=badges,
        aria=f"{title}. {description}.{doubted}",
        x=x.title,
        y=y.title,
        size=SIZE,
        grid=grid,
        lines=lines,
        x_ticks=x_ticks(x),
        y_ticks=y_ticks,
        legend=Markup('<ul class="legend">{}</ul>').format(keys) if legend else "",
    )


HATCH = Markup('<i class="hatch" aria-hidden="true"></i>')


def doubted(name: str, status: str) -> str:
    """A name with why its figures can't be trusted: "xdp · veth (invalid)"."""
    return f"{name} ({status})" if status else name


def _key(s: Series) -> Markup:
    """What a line or a band of the plot is."""
    if s.band:
        edge = " open" if s.band[1] is None else ""
        swatch = Markup('<i class="swatch-band {} {}{}" aria-hidden="true"></i>').format(
            s.colour, s.status, edge
        )
    else:
        swatch = Markup(
            '<svg class="swatch {} dash-{} {}" viewBox="0 0 24 8" aria-hidden="true"><path d="M1 4H23"/></svg>'
        ).format(s.colour, s.dash, s.status)
    return Markup("<li>{}{}</li>").format(swatch, doubted(s.name, s.status))


def _series(s: Series, x: Axis, y: Axis) -> Markup:
    def at(point: tuple[float, float]) -> str:
        return f"{x.place(point[0]) * SIZE:.1f} {(1 - y.place(point[1])) * SIZE:.1f}"

    out = []
    if s.band:
        low, high = x.place(s.band[0]) * SIZE, SIZE if s.band[1] is None else x.place(s.band[1]) * SIZE
        out.append(
            Markup('<rect class="band{}" x="{:.1f}" y="0" width="{:.1f}" height="{}"/>').format(
                " open" if s.band[1] is None else "", low, max(high - low, 0.5), SIZE
            )
        )
        out.append(Markup('<path class="line" d="M{0:.1f} 0V{1}"/>').format(low, SIZE))
        if s.band[1] is not None:
            out.append(Markup('<path class="line" d="M{0:.1f} 0V{1}"/>').format(high, SIZE))
    if len(s.line) > 1:
        out.append(Markup('<path class="line" d="M{}"/>').format("L".join(map(at, s.line))))
    if len(s.thin_line) > 1:
        out.append(Markup('<path class="line thin" d="M{}"/>').format("L".join(map(at, s.thin_line))))
    # A line of no length with round ends is a dot that stays round however the picture is stretched.
    out += [
        Markup('<path class="dot {}" data-tip="{}" d="M{}h0"/>').format(
            d.style, doubted(d.tip, s.status), at((d.x, d.y))
        )
        for d in s.dots
    ]
    return Markup('<g class="{} dash-{}{}">{}</g>').format(
        s.colour, s.dash, f" {s.status}" if s.status else "", Markup("").join(out)
    )


def bar(
    axis: Axis,
    value: float | None,
    marks: Sequence[tuple[float, str, str]],
    whiskers: Sequence[Whisker],
    colour: str,
    label: str,
    *,
    status: str = "",
) -> Markup:
    """A bar on a log axis with marks (value, CSS class, words) and whiskers on it; all in percent of its box."""
    width = axis.place(value) * 100 if value else 0.0
    ticks = Markup("").join(
        Markup('<i class="rule" style="left:{:.2f}%"></i>').format(axis.place(v) * 100) for v, _ in axis.ticks
    )
    points = Markup("").join(
        Markup('<i class="mark {}" style="left:{:.2f}%" title="{}"></i>').format(
            style, axis.place(v) * 100, doubted(words, status)
        )
        for v, style, words in marks
    )
    return Markup(
        '<span class="bar {}{}" role="img" aria-label="{}">{}<i class="fill" style="width:{:.2f}%"></i>{}{}</span>'
    ).format(
        colour,
        f" {status}" if status else "",
        f"{status}: {label}" if status else label,
        ticks,
        width,
        points,
        Markup("").join(_whisker(axis, w, status) for w in whiskers),
    )


def _whisker(axis: Axis, w: Whisker, status: str) -> Markup:
    low = axis.place(w.low) * 100 if w.low else 0.0
    high = axis.place(w.high) * 100 if w.high is not None else low
    return Markup('<i class="whisker {}{}" style="left:{:.2f}%;width:{:.2f}%" title="{}"></i>').format(
        w.style, " open" if w.high is None else "", low, high - low, doubted(w.words, status)
    )
