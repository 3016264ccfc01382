"""The charts of a report: which curves, in which colours, from which figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from hdrh.histogram import HdrHistogram
from markupsafe import Markup

from labkit.measure.latency import LatencyPoint
from labkit.measure.trial import Histogram, TrialResult
from labkit.results import format as fmt
from labkit.results.charts import Axis, Dot, Series, bar, decades, percent, plot, span
from labkit.results.model import Key, Measurement
from labkit.results.rows import HALF, IDLE, Row, of_kind
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
SAMPLES_NEEDED = 10
"""A percentile p needs 10 / (1 - p) samples; beyond that the curve is dotted."""


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
        y = percent("loss", _nice_percent(max(t.loss_ratio for t in loaded) * 100))
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
                series.append(Series(name=goal.goal.name, colour=css, line=((at, 0.0), (at, y.high))))
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

    def _point(self, key: Key, load: str) -> LatencyPoint | None:
        m = of_kind(self._run, key, "latency")
        return next((p for p in m.latency.points if p.load == load), None) if m and m.latency else None

    def _hdr(self, title: str, curves: Sequence[tuple[str, str, int, Histogram]]) -> Markup:
        """An HDR plot: time over percentile, both axes logarithmic."""
        decoded = [(label, colour, dash, distribution(h)) for label, colour, dash, h in curves if h.n > 0]
        if not decoded:
            return Markup("")
        most = max(d[-1][0] for *_, d in decoded) * 1.3
        ticks = tuple((10.0**p, word) for p, word in PERCENTILES.items() if 10.0**p <= most)
        x = Axis("percentile", 1.0, most, ticks)
        y = span("round trip", [us for *_, d in decoded for _, us in d if us > 0], unit="us")
        series = []
        for label, colour, dash, points in decoded:
            sure, unsure = split(points)
            series.append(
                Series(
                    name=label,
                    colour=colour,
                    dash=dash,
                    line=tuple(thin(sure)),
                    thin_line=tuple(thin(unsure)),
                    dots=_percentile_dots(label, points),
                )
            )
        return plot(
            title, "round trip over percentile for " + ", ".join(s.name for s in series), x, y, series
        )


def distribution(histogram: Histogram) -> list[tuple[float, float]]:
    """(1 / (1 - p), value at p in us) for every value recorded; the last stands at n, the maximum."""
    hdr = HdrHistogram.decode(histogram.hdr)
    used = [(i, c) for i, c in enumerate(hdr.counts) if c]
    total = sum(c for _, c in used)
    out = []
    for (index, c), until in zip(used, accumulate(c for _, c in used), strict=True):
        value_us = hdr.get_highest_equivalent_value(hdr.get_value_from_index(index)) / 1e3
        # The value holds from the rank after its predecessor up to its own: a step.
        out.append((total / (total - until + c), value_us))
        if until < total:
            out.append((total / (total - until), value_us))
    out.append((float(total), histogram.max_ns / 1e3))
    return out


def split(
    points: Sequence[tuple[float, float]],
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The part of a distribution with enough samples behind each percentile, and the rest; they share a point."""
    until = points[-1][0] / SAMPLES_NEEDED
    sure = [p for p in points if p[0] <= until]
    rest = [p for p in points if p[0] > until]
    if not sure:
        return [], rest
    joint = (until, rest[0][1])
    return [*sure, (until, sure[-1][1]), joint] if sure[-1][0] < until else sure, [joint, *rest]


def thin(points: Sequence[tuple[float, float]], most: int = 160) -> list[tuple[float, float]]:
    """At most about `most` points, evenly by drawn distance on the log axis; the ends stay."""
    if len(points) <= most:
        return list(points)
    kept = [points[0]]
    step = (points[-1][0] / points[0][0]) ** (1 / most)
    for p in points[1:-1]:
        if p[0] >= kept[-1][0] * step:
            kept.append(p)
    return [*kept, points[-1]]


def _percentile_dots(label: str, points: Sequence[tuple[float, float]]) -> tuple[Dot, ...]:
    n = points[-1][0]
    out = []
    for p, word in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")):
        at = 1 / (1 - p)
        if at > n / SAMPLES_NEEDED:
            break
        value = next(us for x, us in points if x >= at * (1 - 1e-9))
        out.append(Dot(at, value, f"{label} · {word} {fmt.duration_us(value)}"))
    last = points[-1]
    return (
        *out,
        Dot(last[0], last[1], f"{label} · max {fmt.duration_us(last[1])} of {fmt.count(int(n))}", "hollow"),
    )


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


LOADS = (IDLE, HALF)
"""The loads at which all datapaths are laid over one another."""
