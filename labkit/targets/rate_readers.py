"""Rates and losses read from a measurement: NDR, PDR, MRR, ratio to the kernel, frame loss rate, offered load."""

from __future__ import annotations

from statistics import median

from labkit.measure.limits import TESTER
from labkit.measure.noise import offered_error
from labkit.measure.search import Irregularity
from labkit.record.model import Measurement
from labkit.targets.observed import Observed, Reader, Unknown
from labkit.targets.rates import goal, limited_by
from labkit.units import Unit, format_quantity


def goal_rate(name: str) -> Reader:
    """NDR or PDR, between what the search knows of it."""

    def read(measurement: Measurement, _load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
        result = goal(measurement, name)
        if result is None:
            return Unknown("the measurement has no search")
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


def mrr_rate(measurement: Measurement, _load: str | None, _kernel: Measurement | None) -> Observed | Unknown:
    """The median of the MRR's trials, and its confidence interval."""
    mrr = measurement.mrr
    if mrr is None:
        return Unknown("the measurement has no MRR")
    high = None if limited_by(measurement, "mrr") == TESTER else mrr.ci95_high_pps
    return Observed(low=mrr.ci95_low_pps, high=high, quoted=mrr.median_pps, note="95 % CI of the median")


def ratio_to_kernel(
    measurement: Measurement, load: str | None, kernel: Measurement | None
) -> Observed | Unknown:
    """MRR or PDR over the kernel's, between the conservative sides of both."""
    name = {"mrr": "mrr", "throughput": "pdr"}[measurement.kind]
    read = mrr_rate if name == "mrr" else goal_rate(name)
    own = read(measurement, load, None)
    base = Unknown("not measured") if kernel is None else read(kernel, load, None)
    if isinstance(own, Unknown):
        return own
    if isinstance(base, Unknown) or not base.quoted:
        return Unknown(f"the kernel's {name}: {base.reason if isinstance(base, Unknown) else base.note}")
    if kernel is not None and kernel.mrr is not None and kernel.mrr.silent:
        return Unknown(
            f"the kernel was silent in {kernel.mrr.silent} trials: a ratio to its MRR would be too high"
        )
    if base.high is None:
        return Unknown(f"the kernel's {name} is tester-limited: a ratio to it would be too high")
    return Observed(
        low=own.low / base.high,
        high=None if own.high is None else own.high / base.low,
        quoted=None if own.quoted is None else own.quoted / base.quoted,
        note=f"{name}, kernel {format_quantity(base.quoted, Unit.PPS)} on {kernel.key.topology if kernel else '?'}",
    )


def loss_at_10_percent(
    measurement: Measurement, _load: str | None, _kernel: Measurement | None
) -> Observed | Unknown:
    """The frame loss rate at a tenth of the maximum load."""
    rates = measurement.loss_curve
    trials = [p.trial for p in rates.points if p.percent_of_max == 10.0] if rates else []
    if not trials:
        return Unknown("no trial at 10 % of the maximum load")
    middle = median(trial.loss_ratio for trial in trials)
    stood_still = median(trial.stall_total_s / trial.duration_s for trial in trials)
    # Frames that come back while the tester stands still overflow its rings, whatever the DUT does.
    doubt = (
        f"the tester itself stalled for {stood_still:.2%} of the time" if stood_still >= middle > 0 else ""
    )
    note = f"median of {len(trials)} trials"
    return Observed(low=middle, high=middle, quoted=middle, note=note, doubt=doubt, doubt_passes=True)


def offered_within(
    measurement: Measurement, _load: str | None, _kernel: Measurement | None
) -> Observed | Unknown:
    """How far the offered load is from the intended load, in the trials that decide."""
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
