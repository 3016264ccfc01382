"""The table of metrics that a target can bound: name, unit, what is better, and where the value comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from labkit.measure.histogram import samples_needed
from labkit.measure.hosttimes import HostTimes
from labkit.measure.limits import TESTER
from labkit.measure.noise import offered_error
from labkit.measure.search import Irregularity
from labkit.measure.trial import TrialResult
from labkit.record.model import Measurement
from labkit.targets.rates import goal, limited_by
from labkit.units import Unit, format_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was measured, between its conservative sides, in the base unit of the metric."""

    low: float
    """The least that it can be: what a >= bound is held against."""
    high: float | None
    """The most that it can be: what a <= bound is held against. None: no limit was found ("at least")."""
    quoted: float | None
    """The figure that is shown."""
    note: str = ""
    doubt: str = ""
    """Why a missed bound would say nothing about the DUT; a bound that holds, holds all the same."""
    doubt_passes: bool = False
    """Whether the doubt is of that moment (the tester stood still), not of this machine (it is a virtual one)."""
    watched_s: float | None = None
    """Of the longest of something: for how long it was looked out for. None: anything else."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no figure, and why."""

    reason: str


Reader = Callable[[Measurement, str | None, Measurement | None], Observed | Unknown]
"""Reads a metric from a measurement, at a load (latency), relative to a baseline (ratios)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric."""

    name: str
    unit: Unit
    better: str
    """high or low."""
    kinds: tuple[str, ...]
    """Kinds of measurement that have it, the preferred one first."""
    comes_from: str
    read: Reader
    relative: bool = False
    """Taken relative to the kernel's measurement."""

    @property
    def of_host(self) -> bool:
        """Of the host itself, not of a datapath."""
        return set(self.kinds) <= {"hardware", "wakeup", "busy_loop"}

    @property
    def absolute(self) -> bool:
        """A rate or a time: only comparable between runs where the topology declares hardware."""
        return self.unit in (Unit.PPS, Unit.SECONDS)

    def format(self, value: float | None) -> str:
        """Write a value for people; None is a limit that was not found."""
        if value is None:
            return "(no limit found)"
        return f"{value:.3g}x" if self.relative else format_quantity(value, self.unit)


def _goal(name: str) -> Reader:
    def read(measurement: Measurement, _load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
        result = goal(measurement, name)
        if result is None:
            return Unknown("the measurement holds no search")
        lower, upper = result.relevant_lower_bound_pps, result.relevant_upper_bound_pps
        tester_limited = limited_by(measurement, name) == TESTER
        if result.conditional_throughput_pps is not None:
            # Never above the relevant lower bound: the figure quoted is the one that has to hold.
            quoted = result.conditional_throughput_pps
            return Observed(low=quoted, high=None if tester_limited else upper, quoted=quoted)
        why = result.irregularity or "irregular result"
        if result.at_least_pps is not None:
            return Observed(low=result.at_least_pps, high=None, quoted=result.at_least_pps, note=why)
        if result.kind is Irregularity.MIN_LOAD_LOSSY and upper is not None and lower is None:
            return Observed(low=0.0, high=None if tester_limited else upper, quoted=None, note=why)
        return Unknown(f"irregular result: {why}")

    return read


def _mrr(measurement: Measurement, _load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
    mrr = measurement.mrr
    if mrr is None:
        return Unknown("the measurement holds no MRR")
    high = None if limited_by(measurement, "mrr") == TESTER else mrr.ci95_high_pps
    return Observed(low=mrr.ci95_low_pps, high=high, quoted=mrr.median_pps, note="95 % CI of the median")


def stalled(trial: TrialResult, percentile: float | None, value_s: float) -> str:
    """Say whether the tester's own stalls are enough to make a percentile what it is; empty: they are not.

    Frames that fall due while the tester stands still come back late whatever the DUT does. If that was the case for
    a share of the time as large as the tail beyond the percentile, the tail can be the tester's own. For the maximum
    one stall as long as itself is enough.
    """
    share = trial.stall_total_s / trial.duration_s
    own = trial.stall_max_s >= value_s if percentile is None else share >= 1.0 - percentile / 100.0
    if not own:
        return ""
    return (
        f"the tester itself stood still for {share:.2%} of the time, {trial.stall_max_s * 1e3:.2g} ms at the longest: "
        "enough to cause this by itself"
    )


def _latency(field: str, percentile: float | None) -> Reader:
    def read(measurement: Measurement, load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
        ladder = measurement.latency
        if ladder is None:
            return Unknown("the measurement holds no latency")
        points = [p for p in ladder.points if load is None or p.load == load]
        if not points:
            measured = ", ".join(p.load for p in ladder.points) or "none"
            return Unknown(f"no latency at {load or 'any load'}; measured: {measured}")
        values_s: list[float] = []
        for point in points:
            value_us = getattr(point, field)
            if value_us is None:
                needed = samples_needed(percentile if percentile is not None else 99.9)
                return Unknown(f"too few samples at {point.load}: {point.n}, needs {needed}")
            values_s.append(value_us / 1e6)
        worst = points[values_s.index(max(values_s))]
        note = f"at {worst.load}, the slowest load" if len(points) > 1 else f"at {worst.load}"
        doubt = stalled(worst.trial, percentile, max(values_s))
        return Observed(
            low=min(values_s),
            high=max(values_s),
            quoted=max(values_s),
            note=note,
            doubt=doubt,
            doubt_passes=True,
        )

    return read


def _loss_at_10_percent(
    measurement: Measurement, _load: str | None, _kernel: Measurement | None
) -> Observed | Unknown:
    curve = measurement.loss_curve
    trials = [p.trial for p in curve.points if p.percent_of_max == 10.0] if curve else []
    if not trials:
        return Unknown("no trial at 10 % of the maximum load")
    middle = median(trial.loss_ratio for trial in trials)
    stood_still = median(trial.stall_total_s / trial.duration_s for trial in trials)
    # Frames that come back while the tester stands still overflow its rings, whatever the DUT does.
    doubt = (
        f"the tester itself stood still for {stood_still:.2%} of the time"
        if stood_still >= middle > 0
        else ""
    )
    note = f"median of {len(trials)} trials"
    return Observed(low=middle, high=middle, quoted=middle, note=note, doubt=doubt, doubt_passes=True)


def _offered_within(
    measurement: Measurement, _load: str | None, _kernel: Measurement | None
) -> Observed | Unknown:
    if measurement.throughput is not None:
        trials = list(measurement.throughput.deciding_trials())
    elif measurement.latency is not None:
        trials = [point.trial for point in measurement.latency.points]
    elif measurement.loss_curve is not None:
        trials = [p.trial for p in measurement.loss_curve.points if p.percent_of_max == 10.0]
    else:
        trials = []
    errors = [abs(offered_error(trial)) for trial in trials if trial.intended_load_pps is not None]
    if not errors:
        return Unknown("no trial with an intended load decides this measurement")
    error = median(errors)
    return Observed(low=error, high=error, quoted=error, note=f"median of {len(errors)} deciding trials")


def _ratio_to_kernel(
    measurement: Measurement, load: str | None, kernel: Measurement | None
) -> Observed | Unknown:
    name = {"mrr": "mrr", "throughput": "pdr"}[measurement.kind]
    read = METRICS[name].read
    own = read(measurement, load, None)
    base = Unknown("not measured") if kernel is None else read(kernel, load, None)
    if isinstance(own, Unknown):
        return own
    if isinstance(base, Unknown) or not base.quoted:
        return Unknown(f"the kernel's {name}: {base.reason if isinstance(base, Unknown) else base.note}")
    if kernel is not None and kernel.mrr is not None and kernel.mrr.silent:
        return Unknown(
            f"the kernel was silent in {kernel.mrr.silent} trials: a ratio to its mrr would flatter"
        )
    if base.high is None:
        return Unknown(f"the kernel's {name} is tester-limited: a ratio to it would flatter")
    return Observed(
        low=own.low / base.high,
        high=None if own.high is None else own.high / base.low,
        quoted=None if own.quoted is None else own.quoted / base.quoted,
        note=f"{name}, kernel {format_quantity(base.quoted, Unit.PPS)} on {kernel.key.topology if kernel else '?'}",
    )


def _host(kind: str, field: str, percentile: float | None) -> Reader:
    def read(measurement: Measurement, _load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
        times: HostTimes | None = getattr(measurement, kind)
        if times is None:
            return Unknown(f"the measurement holds no {kind}")
        worst = times.worst(field)
        if worst is None:
            needed = samples_needed(percentile if percentile is not None else 50.0)
            fewest = min(times.cores, key=lambda core: core.times.n)
            return Unknown(f"too few samples on core {fewest.core}: {fewest.times.n}, needs {needed}")
        value_us = float(getattr(worst, field))
        note = f"core {worst.core}" + (f", the slowest of {len(times.cores)}" if len(times.cores) > 1 else "")
        if times.resolution_us:
            note += f"; the tool says {value_us:g} us and cuts off"
        note += f"; in {times.duration_s:g} s"
        # Just under the next step: "< 20 us" holds of 19 us cut off.
        high_us = value_us + max(times.resolution_us - 1e-3, 0.0)
        return Observed(
            low=value_us / 1e6,
            high=high_us / 1e6,
            quoted=value_us / 1e6,
            note=note,
            doubt=_virtual(measurement),
            watched_s=times.duration_s if percentile is None else None,
        )

    return read


def _virtual(measurement: Measurement) -> str:
    """Say that the host is a virtual machine; empty: it is none."""
    guest = next((g for g in measurement.gates if g.name == "guest" and g.state != "ok"), None)
    return f"{guest.value}: {guest.why}" if guest is not None else ""


def _hardware_max(
    measurement: Measurement, _load: str | None, _kernel: Measurement | None
) -> Observed | Unknown:
    found = measurement.hardware
    if found is None:
        return Unknown("the measurement holds no gaps of the hardware")
    if found.max_us is None:
        low_s, high_s, quoted_s, gaps = 0.0, found.threshold_us / 1e6, None, "no gap above the threshold of"
    else:
        low_s = high_s = quoted_s = found.max_us / 1e6
        gaps = f"{found.gaps} gaps above"
    return Observed(
        low=low_s,
        high=high_s,
        quoted=quoted_s,
        note=f"{gaps} {found.threshold_us:g} us, in {found.duration_s:g} s",
        doubt=_virtual(measurement),
        watched_s=found.duration_s,
    )


def _wakeup_metrics(kind: str, tool: str) -> tuple[Metric, ...]:
    """How late threads are woken, as one tool sees it."""

    def metric(name: str, percentile: float | None, comes_from: str) -> Metric:
        return Metric(
            name=f"{kind}_{name}",
            unit=Unit.SECONDS,
            better="low",
            kinds=(kind,),
            comes_from=f"{comes_from}, on the slowest core",
            read=_host(kind, f"{name}_us", percentile),
        )

    percentiles = {"p50": 50, "p99": 99, "p999": 99.9, "p9999": 99.99}
    return (
        *(
            metric(name, percentile, f"{percentile:g}th percentile of the wake-up latency ({tool})")
            for name, percentile in percentiles.items()
        ),
        metric("max", None, f"the latest wake-up ({tool}'s own maximum)"),
    )


def _percentile_metric(name: str, percentile: float) -> Metric:
    return Metric(
        name=name,
        unit=Unit.SECONDS,
        better="low",
        kinds=("latency",),
        comes_from=f"{percentile:g}th percentile of the round trips; the slowest load where several were measured",
        read=_latency(f"{name}_us", percentile),
    )


_TABLE = (
    Metric(
        name="ndr",
        unit=Unit.PPS,
        better="high",
        kinds=("throughput",),
        comes_from="conditional throughput of the NDR goal (<=: its relevant upper bound)",
        read=_goal("ndr"),
    ),
    Metric(
        name="pdr",
        unit=Unit.PPS,
        better="high",
        kinds=("throughput",),
        comes_from="conditional throughput of the PDR goal (<=: its relevant upper bound)",
        read=_goal("pdr"),
    ),
    Metric(
        name="mrr",
        unit=Unit.PPS,
        better="high",
        kinds=("mrr",),
        comes_from="95 % confidence interval of the median: its low end (<=: its high end)",
        read=_mrr,
    ),
    _percentile_metric("p50", 50),
    _percentile_metric("p90", 90),
    _percentile_metric("p99", 99),
    _percentile_metric("p999", 99.9),
    _percentile_metric("p9999", 99.99),
    Metric(
        name="max",
        unit=Unit.SECONDS,
        better="low",
        kinds=("latency",),
        comes_from="the slowest round trip",
        read=_latency("max_us", None),
    ),
    Metric(
        name="pdv",
        unit=Unit.SECONDS,
        better="low",
        kinds=("latency",),
        comes_from="p99.9 less the minimum (RFC 5481, RFC 8219)",
        read=_latency("pdv_us", 99.9),
    ),
    Metric(
        name="loss_at_10_percent",
        unit=Unit.RATIO,
        better="low",
        kinds=("loss_curve",),
        comes_from="loss ratio at 10 % of the loss curve's maximum load, median of its trials",
        read=_loss_at_10_percent,
    ),
    Metric(
        name="offered_within",
        unit=Unit.RATIO,
        better="low",
        kinds=("throughput", "latency", "loss_curve"),
        comes_from="difference of offered and intended load over the trials that decide, median",
        read=_offered_within,
    ),
    Metric(
        name="ratio_to_kernel",
        unit=Unit.RATIO,
        better="high",
        kinds=("mrr", "throughput"),
        comes_from="MRR (or PDR) over that of the kernel backend, conservative sides of both",
        read=_ratio_to_kernel,
        relative=True,
    ),
    *_wakeup_metrics("wakeup", "cyclictest"),
    *_wakeup_metrics("timerlat", "rtla timerlat"),
    Metric(
        name="busy_loop_max",
        unit=Unit.SECONDS,
        better="low",
        kinds=("busy_loop",),
        comes_from="the longest time that a busy loop was kept from running (oslat), on the slowest core",
        read=_host("busy_loop", "max_us", None),
    ),
    Metric(
        name="hardware_max",
        unit=Unit.SECONDS,
        better="low",
        kinds=("hardware",),
        comes_from="the longest gap that hardware or firmware made (hwlatdetect); its threshold where none was longer",
        read=_hardware_max,
    ),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _TABLE}
