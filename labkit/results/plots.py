"""The plots of datapaths in a report: which curves and bars, in which colours, of which measurements."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from labkit import format as fmt
from labkit.measure.trial import TrialResult
from labkit.record.model import Key, Measurement
from labkit.record.run import Run
from labkit.results.axes import Axis, decades, loss_decades, percent, span
from labkit.results.bounds import load_bounds, ndr_unstable, rate_words
from labkit.results.drawing import Dot, Series, Whisker, bar, plot
from labkit.results.lookup import doubts, of_kind, point
from labkit.results.names import frame_words, name, name_of
from labkit.results.percentile_plot import Curve, over_percentile
from labkit.results.row import Row
from labkit.results.spread_plot import spread_plot
from labkit.results.trust import status, status_of
from labkit.targets.rates import max_offered_load_pps
from labkit.units import IDLE

BACKENDS = ("kernel", "af_packet", "xdp", "af_xdp", "dpdk", "onload")


class Plots:
    """Draws the plots of one run; every datapath keeps its colour and dash through all of them."""

    def __init__(self, run: Run, measured: Sequence[Row]) -> None:
        self._run = run
        self._rows = list(measured)
        rates = [
            v for r in self._rows for v in (r.ndr_pps, r.pdr_pps, r.mrr_pps, *self._edges_pps(r.key)) if v
        ]
        self.rate_axis: Axis | None = decades("frames per second", rates, unit="pps") if rates else None

    def _edges_pps(self, key: Key) -> tuple[float | None, ...]:
        """What a bar shows beside the row's rates: the bounds of the search, and the maximum offered load."""
        m = of_kind(self._run, key, "throughput")
        goals = (m.throughput.ndr, m.throughput.pdr) if m and m.throughput else ()
        bounds = [b for g in goals for b in (g.relevant_lower_bound_pps, g.relevant_upper_bound_pps)]
        return (max_offered_load_pps(m), *bounds)

    def status(self, row: Row, *kinds: str, load: str | None = None) -> str:
        """Why the row's figures of these kinds (at that load) can't be trusted: "invalid", "simulated", or empty."""
        return status(self._run, row, *kinds, load=load)

    def status_of(self, row: Row, m: Measurement, load: str) -> str:
        """The same of one measurement of latency, at one of its loads."""
        return status_of(self._run, row, doubts(m, load))

    def colour(self, row: Row) -> str:
        """The CSS class of a backend's colour."""
        return f"c-{row.backend}" if row.backend in BACKENDS else "c-other"

    def dash(self, row: Row) -> int:
        """Which of its backend's datapaths it is, as a dash pattern."""
        same = list(dict.fromkeys((r.mode, r.topology) for r in self._rows if r.backend == row.backend))
        return same.index((row.mode, row.topology)) % 4 if (row.mode, row.topology) in same else 0

    def rate_bar(self, row: Row) -> Markup:
        """PDR as a bar, NDR, MRR and the maximum offered load as marks on it, the bounds of NDR and PDR as whiskers."""
        if self.rate_axis is None:
            return Markup("")
        m = of_kind(self._run, row.key, "throughput")
        offered = max_offered_load_pps(m or of_kind(self._run, row.key, "mrr"))
        words = {
            "ndr": rate_words(self._run, row, "ndr"),
            "mrr": rate_words(self._run, row, "mrr"),
            "max-offered-load": f"tester's maximum offered load {fmt.pps(offered)}",
        }
        values = {"ndr": row.ndr_pps, "mrr": row.mrr_pps, "max-offered-load": offered}
        void = {"ndr": " void" if ndr_unstable(self._run, row) else ""}
        whiskers = [w for name in ("pdr", "ndr") if (w := self._whisker(row, name))]
        label = [rate_words(self._run, row, "pdr"), *(words[k] for k, v in values.items() if v)]
        return bar(
            self.rate_axis,
            row.pdr_pps,
            [(v, k + void.get(k, ""), words[k]) for k, v in values.items() if v],
            whiskers,
            self.colour(row),
            ", ".join(label),
            status=self.status(row, "throughput", "mrr"),
        )

    def _whisker(self, row: Row, name: str) -> Whisker | None:
        low, high = load_bounds(self._run, row, name)
        if low is None and high is None:
            return None
        void = " void" if name == "ndr" and ndr_unstable(self._run, row) else ""
        return Whisker(name + void, low, high, rate_words(self._run, row, name))

    def ladder(self, row: Row, trials: Sequence[TrialResult], measurement: Measurement) -> Markup:
        """Load against loss, a dot a trial."""
        found = measurement.throughput
        loaded = [t for t in trials if t.intended_load_pps]
        if not loaded or found is None:
            return Markup("")
        doubt = self.status(row, "throughput")
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
        series = [Series(name="trial", colour="c-trial", dots=dots, status=doubt)]
        for goal in ("ndr", "pdr"):
            low, high = load_bounds(self._run, row, goal)
            if low is not None or high is not None:
                unstable = goal == "ndr" and ndr_unstable(self._run, row)
                bound = Series(
                    name=rate_words(self._run, row, goal),
                    colour=f"c-{goal}",
                    band=(low or x.low, high),
                    status="invalid" if unstable else doubt,
                )
                series.append(bound)
        return plot(
            f"Every trial of the search: {name_of(row)}",
            f"{len(loaded)} trials, loss over intended load",
            x,
            y,
            series,
        )

    def latency_overview(self, load: str, frame: str) -> Markup:
        """All datapaths at one load."""
        curves = []
        for row in self._rows:
            p = point(self._run, row.key, load)
            if frame_words(row) == frame and p is not None and p.trial.rtt is not None:
                label = f"{name(row)} · {row.topology}"
                curves.append(
                    Curve(
                        label,
                        self.colour(row),
                        self.dash(row),
                        p.trial.rtt,
                        self.status(row, "latency", load=load),
                    )
                )
        title = "Unloaded" if load == IDLE else f"At {load}, each of its own"
        return over_percentile(f"{title}, frames of {frame}", curves)

    def latency_of(self, row: Row, m: Measurement) -> Markup:
        """One datapath at the loads of one measurement."""
        points = m.latency.points if m.latency else ()
        curves = [
            Curve(
                f"{p.load} ({fmt.pps(p.load_pps)})",
                f"load-{min(i, 4)}",
                0,
                p.trial.rtt,
                self.status_of(row, m, p.load),
            )
            for i, p in enumerate(points)
            if p.trial.rtt is not None
        ]
        return over_percentile(name_of(row), curves)

    def spread_of(self, row: Row, m: Measurement) -> Markup:
        """How predictable a datapath is, beside its reference."""
        if m.predictability is None:
            return Markup("")
        kernel = next((r for r in self._rows if r.key.id == m.predictability.against), None)
        return spread_plot(
            m.predictability,
            title=name_of(row),
            own=(name(row), self.colour(row)),
            reference=("kernel" if kernel is None else name(kernel), "c-kernel"),
            status=self.status(row, "predictability"),
        )

    def frame_loss_rate(self) -> Markup:
        """Frame loss rate over offered load, all datapaths."""
        found = [
            (r, m) for r in self._rows if (m := of_kind(self._run, r.key, "loss_curve")) and m.loss_curve
        ]
        trials = [p.trial for _, m in found if m.loss_curve for p in m.loss_curve.points]
        if not trials:
            return Markup("")
        x = span("intended load, frames per second", [_load(t) for t in trials], unit="pps")
        y = percent("frame loss rate", _nice_percent(max(t.loss_ratio for t in trials) * 100))
        series = []
        for row, m in found:
            points = sorted((p.trial for p in m.loss_curve.points), key=_load) if m.loss_curve else []
            at = [(_load(t), t.loss_ratio * 100) for t in points]
            dots = tuple(
                Dot(px, py, f"{name_of(row)} · {_trial_tip(t)}")
                for (px, py), t in zip(at, points, strict=True)
            )
            series.append(
                Series(
                    name=name_of(row),
                    status=self.status(row, "loss_curve"),
                    colour=self.colour(row),
                    line=tuple(at),
                    dots=dots,
                    dash=self.dash(row),
                )
            )
        return plot("Frame loss rate over load (RFC 2544, 26.3)", f"{len(found)} datapaths", x, y, series)


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
