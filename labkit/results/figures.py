"""The charts of a report: which curves, in which colours, from which figures."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from labkit.measure.histogram import counts_us, curve, percentiles_us
from labkit.measure.latency import LatencyPoint
from labkit.measure.trial import Histogram, TrialResult
from labkit.results import format as fmt
from labkit.results.charts import Axis, Dot, Series, bar, decades, loss_decades, percent, plot, span
from labkit.results.model import Key, Measurement
from labkit.results.rows import IDLE, Row, host_times, of_kind
from labkit.results.run import Run
from labkit.results.table import name

BACKENDS = ("kernel", "af_packet", "xdp", "af_xdp", "dpdk", "onload")
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


class Figures:
    """Draws the charts of one run; every datapath keeps its colour and dash through all of them."""

    def __init__(self, run: Run, measured: Sequence[Row]) -> None:
        self._run = run
        self._rows = list(measured)
        rates = [
            v
            for r in self._rows
            for v in (r.ndr_pps, r.pdr_pps, r.mrr_pps, self.ceiling_pps(of_kind(run, r.key, "throughput")))
            if v
        ]
        self.rate_axis: Axis | None = decades("frames per second", rates, unit="pps") if rates else None

    def colour(self, key: Key) -> str:
        """The CSS class of a backend's colour."""
        return f"c-{key.backend}" if key.backend in BACKENDS else "c-other"

    def dash(self, key: Key) -> int:
        """Which of its backend's datapaths it is, as a dash pattern."""
        same = list(dict.fromkeys((r.mode, r.topology) for r in self._rows if r.backend == key.backend))
        return same.index((key.mode, key.topology)) % 4 if (key.mode, key.topology) in same else 0

    @staticmethod
    def ceiling_pps(measurement: Measurement | None) -> float | None:
        """What the tester itself could do on that link."""
        value = measurement.tester.get("ceiling_pps") if measurement else None
        return float(value) if isinstance(value, int | float) and value > 0 else None

    def rate_bar(self, row: Row) -> Markup:
        """PDR as a bar, NDR, MRR and the tester's ceiling as marks on it."""
        if self.rate_axis is None:
            return Markup("")
        ceiling = self.ceiling_pps(
            of_kind(self._run, row.key, "throughput") or of_kind(self._run, row.key, "mrr")
        )
        marks = [
            ("ndr", "NDR", row.ndr_pps),
            ("mrr", "MRR", row.mrr_pps),
            ("ceiling", "tester's ceiling", ceiling),
        ]
        words = [f"{word} {fmt.pps(v)}" for _, word, v in marks if v]
        return bar(
            self.rate_axis,
            row.pdr_pps,
            [(v, css, f"{word} {fmt.pps(v)}") for css, word, v in marks if v],
            self.colour(row.key),
            ", ".join([f"PDR {fmt.pps(row.pdr_pps)}", *words]),
        )

    def ladder(self, trials: Sequence[TrialResult], measurement: Measurement) -> Markup:
        """Load against loss, a dot a trial."""
        found = measurement.throughput
        loaded = [t for t in trials if t.intended_load_pps]
        if not loaded or found is None:
            return Markup("")
        x = span("intended load, frames per second", [t.intended_load_pps or 1.0 for t in loaded], unit="pps")
        y = loss_decades("loss", [t.loss_ratio * 100 for t in loaded])
        dots = tuple(
            Dot(
                t.intended_load_pps or 1.0,
                t.loss_ratio * 100,
                _trial_tip(t),
                judge(t, found.pdr.goal.loss_ratio),
            )
            for t in loaded
        )
        series = [Series(name="trial", colour="c-trial", dots=dots)]
        for goal, css in ((found.ndr, "c-ndr"), (found.pdr, "c-pdr")):
            if goal.relevant_lower_bound_pps:
                at = goal.relevant_lower_bound_pps
                series.append(Series(name=goal.goal.name, colour=css, line=((at, y.low), (at, y.high))))
        return plot(
            "Every trial of the search", f"{len(loaded)} trials, loss over intended load", x, y, series
        )

    def latency_overview(self, load: str, frame: str) -> Markup:
        """All datapaths at one load."""
        curves = []
        for row in self._rows:
            p = self._point(row.key, load)
            if row.frame == frame and p is not None and p.trial.rtt is not None:
                label = f"{name(row)} · {row.topology}"
                curves.append((label, self.colour(row.key), self.dash(row.key), p.trial.rtt))
        title = "Unloaded" if load == IDLE else f"At {load}, each of its own"
        return self._hdr(f"{title}, {frame} B frames", curves)

    def latency_of(self, row: Row) -> Markup:
        """One datapath at all of its loads."""
        m = of_kind(self._run, row.key, "latency")
        points = m.latency.points if m and m.latency else ()
        curves = [
            (f"{p.load} ({fmt.pps(p.load_pps)})", f"load-{min(i, 4)}", 0, p.trial.rtt)
            for i, p in enumerate(points)
            if p.trial.rtt is not None
        ]
        return self._hdr(f"{name(row)} · {row.topology} · {row.frame} B", curves)

    def loss_curves(self) -> Markup:
        """Loss over offered load, all datapaths."""
        found = [
            (r, m) for r in self._rows if (m := of_kind(self._run, r.key, "loss_curve")) and m.loss_curve
        ]
        trials = [p.trial for _, m in found if m.loss_curve for p in m.loss_curve.points]
        if not trials:
            return Markup("")
        x = span("intended load, frames per second", [_load(t) for t in trials], unit="pps")
        y = percent("frame loss", _nice_percent(max(t.loss_ratio for t in trials) * 100))
        series = []
        for row, m in found:
            points = sorted((p.trial for p in m.loss_curve.points), key=_load) if m.loss_curve else []
            at = [(_load(t), t.loss_ratio * 100) for t in points]
            dots = tuple(
                Dot(px, py, f"{name(row)} · {row.topology} · {_trial_tip(t)}")
                for (px, py), t in zip(at, points, strict=True)
            )
            label = f"{name(row)} · {row.topology} · {row.frame} B"
            series.append(
                Series(
                    name=label,
                    colour=self.colour(row.key),
                    line=tuple(at),
                    dots=dots,
                    dash=self.dash(row.key),
                )
            )
        return plot("Frame loss over load (RFC 2544, 26.3)", f"{len(found)} datapaths", x, y, series)

    def host_percentiles(self, row: Row) -> Markup:
        """The host's own times over the percentile, a curve a core."""
        m = of_kind(self._run, row.key, row.mode)
        times = host_times(m) if m else None
        curves = [
            (f"core {core.core}", f"load-{i % 5}", i // 5 % 4, core.times)
            for i, core in enumerate(times.cores if times else ())
        ]
        return self._hdr(f"{name(row)} over the percentile", curves, what="time")

    def host_histogram(self, row: Row) -> Markup:
        """How often each time was seen, a curve a core: both axes logarithmic, for it is the rare ones that matter."""
        m = of_kind(self._run, row.key, row.mode)
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
                Dot(us, n, f"core {core.core} · {fmt.duration_us(us)} · {fmt.count(n)} times")
                for us, n in counts
            )
            series.append(
                Series(
                    name=f"core {core.core}",
                    colour=f"load-{i % 5}",
                    dash=i // 5 % 4,
                    line=tuple((us, float(n)) for us, n in counts),
                    dots=dots,
                )
            )
        return plot(
            f"{name(row)}: histogram", "how often each time was seen, a curve for each core", x, y, series
        )

    def _point(self, key: Key, load: str) -> LatencyPoint | None:
        m = of_kind(self._run, key, "latency")
        return next((p for p in m.latency.points if p.load == load), None) if m and m.latency else None

    def _hdr(
        self, title: str, curves: Sequence[tuple[str, str, int, Histogram]], *, what: str = "round trip"
    ) -> Markup:
        """An HDR plot: time over percentile, both axes logarithmic."""
        drawn = [
            (label, colour, dash, h, [(rarity(p, h.n), us) for p, us in curve(h)])
            for label, colour, dash, h in curves
            if h.n > 0
        ]
        if not drawn:
            return Markup("")
        most = max(max(h.n for *_, h, _ in drawn) * 1.3, 12.0)
        ticks = tuple((10.0**p, word) for p, word in PERCENTILES.items() if 10.0**p <= most)
        x = Axis("percentile", 1.0, most, ticks)
        y = span(what, [us for *_, points in drawn for _, us in points if us > 0], unit="us")
        series = [
            Series(
                name=label,
                colour=colour,
                dash=dash,
                line=tuple(points[:-1]),
                thin_line=tuple(points[-2:]),
                dots=_percentile_dots(label, h),
            )
            for label, colour, dash, h, points in drawn
        ]
        return plot(title, f"{what} over percentile for " + ", ".join(s.name for s in series), x, y, series)


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


def judge(trial: TrialResult, pdr_loss_ratio: float) -> str:
    """good: nothing lost; fair: within the PDR's loss; bad: over it."""
    if trial.loss_ratio <= 0:
        return "good"
    return "fair" if trial.loss_ratio <= pdr_loss_ratio else "bad"


def _load(trial: TrialResult) -> float:
    return trial.intended_load_pps or trial.offered_pps or 1.0


def _trial_tip(trial: TrialResult) -> str:
    return f"{fmt.pps(trial.intended_load_pps)} · loss {fmt.loss(trial.loss_ratio)} · {fmt.count(trial.unsent)} unsent"


def _nice_percent(value: float) -> float:
    return next((float(n) for n in (1, 2, 4, 10, 20, 40, 60, 80) if value <= n), 100.0)
