"""MRR with its confidence interval, and the loss curve of RFC 2544 26.3."""

from __future__ import annotations

import random
from statistics import median

import pytest

from labkit.errors import ConfigInvalid
from labkit.lab.simulation import SimulatedSpec
from labkit.measure.rates import measure_loss_curve, measure_mrr, median_interval
from labkit.measure.trial import TrialResult
from labkit.testers.simulated import SimulatedTester


def simulated(**spec: object) -> SimulatedTester:
    return SimulatedTester(SimulatedSpec(**spec), record_rtt=False)  # type: ignore[arg-type]


def test_mrr_is_the_capacity_when_the_tester_sends_as_fast_as_it_goes() -> None:
    mrr = measure_mrr(simulated(noise=0.02, buffer_frames=0), max_load_pps=None, duration_s=0.1)
    assert mrr.median_pps == pytest.approx(1e6, rel=0.03)
    assert mrr.min_pps <= mrr.ci95_low_pps <= mrr.median_pps <= mrr.ci95_high_pps <= mrr.max_pps
    assert len(mrr.trials) == 10


def test_the_warm_up_does_not_count() -> None:
    class SlowStart(SimulatedTester):
        def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
            result = super().measure(load_pps=load_pps, duration_s=duration_s)
            if self.trials > 1:
                return result
            return TrialResult(
                intended_load_pps=load_pps, duration_s=duration_s, intended=100, sent=100, received=0
            )

    seen: list[TrialResult] = []
    slow = SlowStart(SimulatedSpec(), record_rtt=False)
    mrr = measure_mrr(slow, max_load_pps=2e6, duration_s=0.1, trials=3, on_trial=seen.append)
    assert mrr.min_pps > 0.9e6
    assert len(seen) == 4
    assert seen[0] not in mrr.trials


def test_the_interval_uses_the_second_of_ten_values_and_all_of_five() -> None:
    assert median_interval(list(range(10))) == (1, 8)  # covers 97.9 %; the third would cover 89 %
    assert median_interval(list(range(11))) == (1, 9)  # the third would cover 93 %
    assert median_interval([5.0, 1.0, 4.0, 2.0, 3.0]) == (1.0, 5.0)
    assert median_interval([7.0]) == (7.0, 7.0)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    draw = random.Random(7)
    hits = 0
    for _ in range(2000):
        low, high = median_interval([draw.lognormvariate(0.0, 1.0) for _ in range(12)])
        hits += low <= 1.0 <= high
    assert hits / 2000 >= 0.94


def test_the_frame_loss_rate_goes_down_to_two_lossless_trials_and_has_the_low_point() -> None:
    curve = measure_loss_curve(simulated(noise=0.0, buffer_frames=0), max_load_pps=1.45e6, duration_s=0.1)
    percents = [p.percent_of_max for p in curve.points]
    assert percents == [100, 90, 80, 70, 60, 50, 10, 10, 10]
    losses = [p.trial.loss_ratio for p in curve.points]
    assert losses[0] == pytest.approx(1 - 1 / 1.45, rel=0.01)
    assert losses == sorted(losses, reverse=True)
    assert losses[4:] == [0.0] * 5
    assert "60 s" in curve.deviations[0]


def test_a_curve_that_always_loses_ends_at_the_low_point() -> None:
    curve = measure_loss_curve(simulated(drop_one_in=10), max_load_pps=1e6, duration_s=0.1)
    assert [p.percent_of_max for p in curve.points][-4:] == [20, 10, 10, 10]
    assert median(p.trial.loss_ratio for p in curve.points) == pytest.approx(0.1, abs=0.05)


def test_a_full_length_curve_departs_from_nothing() -> None:
    assert measure_loss_curve(simulated(), max_load_pps=1e4, duration_s=60.0).deviations == ()


def test_steps_wider_than_the_rfc_allows_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"26\.3"):
        measure_loss_curve(simulated(), max_load_pps=1e6, duration_s=0.1, step_percent=20)
    with pytest.raises(ConfigInvalid, match="trials"):
        measure_mrr(simulated(), max_load_pps=None, duration_s=0.1, trials=0)
