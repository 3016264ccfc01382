"""MRR and the frame loss rate (RFC 2544, 26.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from labkit.errors import ConfigInvalid
from labkit.measure.trial import Measurer, TrialResult

RFC2544_TRIAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mrr:
    """Maximum receive rate (FD.io CSIT): loss ignored, several trials at the maximum load."""

    trials: tuple[TrialResult, ...]
    """Those that count: the warm-up before them is not kept."""
    median_pps: float
    min_pps: float
    max_pps: float
    ci95_low_pps: float
    ci95_high_pps: float

    @property
    def silent(self) -> int:
        """Trials in which nothing came back. If there are any, ratios to this rate are meaningless."""
        return sum(not trial.received for trial in self.trials)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """Loss at one load."""

    percent_of_max: float
    trial: TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurve:
    """Frame loss rate (RFC 2544 26.3): from 100 % of `max_load_pps` down."""

    max_load_pps: float
    points: tuple[LossPoint, ...]
    deviations: tuple[str, ...]
    """Where it departs from the RFC (shorter trials, fewer steps)."""


def median_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the median by order statistics: no assumption about the distribution.

    The k-th smallest and k-th largest of n values enclose the median unless fewer than k of them fall on one side
    of it, which has the probability 2 P(Binomial(n, 1/2) < k). The largest k that keeps it within 1 - confidence is
    taken. Below six values no k does for 95 %: the interval is then all that was seen.
    """
    ordered, n = sorted(values), len(values)
    k, below = 0, 0.0
    while True:
        below += comb(n, k) / 2**n
        if 2 * below > 1 - confidence or k + 1 > n // 2:
            break
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def measure_mrr(
    measurer: Measurer,
    *,
    max_load_pps: float | None,
    duration_s: float,
    trials: int = 10,
    on_trial: Callable[[TrialResult], None] | None = None,
) -> Mrr:
    """Measure the forwarding rate at the maximum load (None: as fast as the tester goes).

    One trial more than `trials` is made: the first is the warm-up, and is not counted.
    """
    if trials < 1:
        raise ConfigInvalid(f"trials: expected at least 1, got {trials}")
    counted: list[TrialResult] = []
    for index in range(trials + 1):
        trial = measurer.measure(load_pps=max_load_pps, duration_s=duration_s)
        if on_trial is not None:
            on_trial(trial)
        if index:
            counted.append(trial)
    rates_pps = [trial.forwarding_rate_pps for trial in counted]
    low_pps, high_pps = median_interval(rates_pps)
    return Mrr(
        trials=tuple(counted),
        median_pps=median(rates_pps),
        min_pps=min(rates_pps),
        max_pps=max(rates_pps),
        ci95_low_pps=low_pps,
        ci95_high_pps=high_pps,
    )


def measure_loss_curve(
    measurer: Measurer,
    *,
    max_load_pps: float,
    duration_s: float,
    step_percent: float = 10.0,
    low_load_trials: int = 3,
    on_trial: Callable[[TrialResult], None] | None = None,
) -> LossCurve:
    """Measure loss from 100 % of `max_load_pps` down, until two successive trials lost nothing (RFC 2544 26.3).

    The point at 10 % is always among them, `low_load_trials` times: there loss means a broken path.
    """
    if not 0 < step_percent <= 10:
        raise ConfigInvalid(f"step_percent: RFC 2544 26.3 allows steps of at most 10 %, got {step_percent:g}")
    points: list[LossPoint] = []

    def measure(percent: float) -> TrialResult:
        trial = measurer.measure(load_pps=max_load_pps * percent / 100.0, duration_s=duration_s)
        if on_trial is not None:
            on_trial(trial)
        points.append(LossPoint(percent_of_max=percent, trial=trial))
        return trial

    lossless, step = 0, 0
    while lossless < 2:
        percent = 100.0 - step * step_percent
        if percent <= 10.0:
            break
        lossless = 0 if measure(percent).loss_ratio else lossless + 1
        step += 1
    for _ in range(low_load_trials):
        measure(10.0)
    deviations = []
    if duration_s < RFC2544_TRIAL_S:
        deviations.append(f"trials of {duration_s:g} s, RFC 2544 section 24 asks for {RFC2544_TRIAL_S:g} s")
    return LossCurve(max_load_pps=max_load_pps, points=tuple(points), deviations=tuple(deviations))
