"""The plots of the host itself: its times by percentile, and how often each was seen."""

from __future__ import annotations

from markupsafe import Markup

from labkit import format as fmt
from labkit.measure.histogram import counts_us
from labkit.record.run import Run
from labkit.results.axes import decades, span
from labkit.results.drawing import Dot, Series, plot
from labkit.results.lookup import host_times, of_kind
from labkit.results.names import name
from labkit.results.percentile_plot import Curve, over_percentile
from labkit.results.row import Row
from labkit.results.trust import status


def host_percentiles(run: Run, row: Row) -> Markup:
    """The host's own times over the percentile, a curve a core."""
    m = of_kind(run, row.key, row.mode)
    times = host_times(m) if m else None
    doubt = status(run, row, row.mode)
    curves = [
        Curve(f"core {core.core}", f"load-{i % 5}", i // 5 % 4, core.times, doubt)
        for i, core in enumerate(times.cores if times else ())
    ]
    return over_percentile(f"{name(row)} over the percentile", curves, what="time")


def host_histogram(run: Run, row: Row) -> Markup:
    """How often each time was seen, a curve a core: both axes logarithmic, for it is the rare ones that matter."""
    m = of_kind(run, row.key, row.mode)
    times = host_times(m) if m else None
    drawn = [(core, counts_us(core.times)) for core in times.cores] if times else []
    points = [point for _, counts in drawn for point in counts]
    if not points:
        return Markup("")
    x = span("time", [us for us, _ in points], unit="us")
    y = decades("how often", [float(n) for _, n in points])
    series = []
    for i, (core, counts) in enumerate(drawn):
        dots = tuple(
            Dot(us, n, f"core {core.core} · {fmt.duration_us(us)} · {fmt.count(n)} times") for us, n in counts
        )
        series.append(
            Series(
                name=f"core {core.core}",
                status=status(run, row, row.mode),
                colour=f"load-{i % 5}",
                dash=i // 5 % 4,
                line=tuple((us, float(n)) for us, n in counts),
                dots=dots,
            )
        )
    return plot(
        f"{name(row)}: histogram", "how often each time was seen, a curve for each core", x, y, series
    )
