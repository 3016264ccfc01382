"""The search on a simulated DUT: accuracy, irregular results, and what is kept when it ends early."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ConfigInvalid, ToolFailed
from labkit.lab.simulation import SimulatedSpec
from labkit.measure.search import (
    Goal,
    Irregularity,
    SearchProgress,
    SearchResult,
    at_load,
    csit_goals,
    deviations,
    quick_goals,
    rfc2544_goals,
    search,
    search_upwards,
    software_goals,
)
from labkit.measure.trial import TrialResult
from labkit.testers.simulated import SimulatedTester


def run(
    spec: SimulatedSpec,
    goals: tuple[Goal, Goal] | None = None,
    *,
    max_load_pps: float | None = None,
    min_load_pps: float = 9000.0,
    **options: object,
) -> SearchResult:
    tester = SimulatedTester(spec, record_rtt=False)
    ndr, pdr = goals or software_goals()
    return search(
        tester,
        ndr=ndr,
        pdr=pdr,
        min_load_pps=min_load_pps,
        max_load_pps=max_load_pps or 1.2 * spec.capacity_pps,
        clock=tester.clock,
        **options,  # type: ignore[arg-type]
    )


@given(capacity_pps=st.floats(20e3, 30e6), buffer_frames=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_bounds_enclose_the_capacity_of_a_steady_dut_within_the_width(
    capacity_pps: float, buffer_frames: int
) -> None:
    spec = SimulatedSpec(
        capacity_pps=capacity_pps, noise=0.0, buffer_frames=buffer_frames, max_offered_load_pps=1e9
    )
    result = run(spec)
    for goal in (result.ndr, result.pdr):
        truth_pps = spec.highest_load_pps(
            loss_ratio=goal.goal.loss_ratio, duration_s=goal.goal.final_trial_duration_s
        )
        assert goal.regular
        assert goal.relevant_lower_bound_pps is not None
        assert goal.relevant_upper_bound_pps is not None
        one_frame = 2 / goal.goal.final_trial_duration_s  # counts are whole frames
        assert goal.relevant_lower_bound_pps <= truth_pps + one_frame
        assert goal.relevant_upper_bound_pps >= truth_pps - one_frame
        width = 1 - goal.relevant_lower_bound_pps / goal.relevant_upper_bound_pps
        assert width <= goal.goal.relative_width * 1.0001
    assert result.ndr.conditional_throughput_pps == result.ndr.relevant_lower_bound_pps


def errors_of(
    goals: tuple[Goal, Goal], *, noise: float, lossy: float
) -> tuple[list[float], list[float], float]:
    """Errors of NDR and PDR [1] over 20 seeds, sorted, and the median time of a search [s]."""
    ndr_errors, pdr_errors, seconds = [], [], []
    for seed in range(20):
        spec = SimulatedSpec(noise=noise, lossy_trials=lossy, seed=seed, overhead_s=0.04)
        result = run(spec, goals)
        for goal, errors in ((result.ndr, ndr_errors), (result.pdr, pdr_errors)):
            assert goal.relevant_lower_bound_pps is not None
            truth_pps = spec.highest_load_pps(
                loss_ratio=goal.goal.loss_ratio, duration_s=goal.goal.final_trial_duration_s
            )
            errors.append(goal.relevant_lower_bound_pps / truth_pps - 1)
        seconds.append(result.duration_s)
    return sorted(ndr_errors), sorted(pdr_errors), statistics.median(seconds)


@pytest.mark.parametrize(
    ("goals", "noise", "lossy", "ndr_within", "pdr_within", "at_most_s"),
    [
        (software_goals(), 0.01, 0.0, 0.015, 0.015, 9),
        (software_goals(), 0.03, 0.0, 0.025, 0.02, 13),
        (software_goals(), 0.03, 0.3, 0.06, 0.025, 20),
        (quick_goals(), 0.01, 0.0, 0.04, 0.04, 3),
        (quick_goals(), 0.03, 0.3, 0.10, 0.05, 6),
    ],
    ids=["software-1%", "software-3%", "software-3%-lossy", "quick-1%", "quick-3%-lossy"],
)
def test_nine_of_ten_searches_are_as_accurate_and_quick_as_stated(
    goals: tuple[Goal, Goal],
    noise: float,
    lossy: float,
    ndr_within: float,
    pdr_within: float,
    at_most_s: float,
) -> None:
    ndr_errors, pdr_errors, median_s = errors_of(goals, noise=noise, lossy=lossy)
    assert -ndr_within <= ndr_errors[1] <= ndr_errors[-2] <= ndr_within
    assert -pdr_within <= pdr_errors[1] <= pdr_errors[-2] <= pdr_within
    assert median_s <= at_most_s


def test_conditional_throughput_is_the_forwarding_rate_of_the_deciding_trial() -> None:
    result = run(SimulatedSpec(noise=0.02, seed=3))
    lower = result.pdr.relevant_lower_bound_pps
    assert lower is not None
    assert result.pdr.conditional_throughput_pps is not None
    assert 0.995 * lower <= result.pdr.conditional_throughput_pps <= lower


def test_max_load_without_loss_is_irregular_and_claims_no_throughput() -> None:
    result = run(SimulatedSpec(capacity_pps=5e6), max_load_pps=1e6)
    assert not result.ndr.regular
    assert result.ndr.kind is Irregularity.MAX_LOAD_LOSSLESS
    assert result.ndr.conditional_throughput_pps is None
    assert result.ndr.relevant_upper_bound_pps is None
    assert result.ndr.at_least_pps == pytest.approx(1e6)
    assert "maximum load" in str(result.ndr.irregularity)


def test_min_load_with_loss_is_irregular_and_claims_no_throughput() -> None:
    result = run(SimulatedSpec(drop_one_in=100), min_load_pps=100e3)
    for goal in (result.ndr, result.pdr):
        assert goal.kind is Irregularity.MIN_LOAD_LOSSY
        assert goal.relevant_lower_bound_pps is None
        assert goal.conditional_throughput_pps is None
        assert goal.at_least_pps is None


def upwards(tester: SimulatedTester, *, highest_load_pps: float, **options: object) -> SearchResult:
    """As after an MRR of next to nothing."""
    ndr, pdr = quick_goals()
    return search_upwards(
        tester,
        ndr=ndr,
        pdr=pdr,
        min_load_pps=9e3,
        max_load_pps=18e3,
        highest_load_pps=highest_load_pps,
        clock=tester.clock,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("livelock_pps", [40e3, 150e3])
def test_a_dut_in_livelock_is_searched_above_what_it_forwards_under_overload(livelock_pps: float) -> None:
    """Steps: start where an MRR of next to nothing says. Verify: found is what it carries, not where it began."""
    spec = SimulatedSpec(livelock_pps=livelock_pps, noise=0.0, max_offered_load_pps=500e3)
    tester = SimulatedTester(spec, record_rtt=False)
    seen: list[TrialResult] = []
    found = upwards(tester, highest_load_pps=550e3, on_trial=seen.append)
    for goal in (found.ndr, found.pdr):
        assert goal.regular, goal
        assert goal.relevant_lower_bound_pps is not None
        assert 0.9 * livelock_pps <= goal.relevant_lower_bound_pps <= livelock_pps
    assert len(seen) == tester.trials > len(found.trials)


def test_a_search_goes_no_higher_than_the_tester_can_offer() -> None:
    tester = SimulatedTester(SimulatedSpec(capacity_pps=5e6, noise=0.0), record_rtt=False)
    found = upwards(tester, highest_load_pps=100e3)
    assert found.max_load_pps == 100e3
    assert found.ndr.at_least_pps == pytest.approx(100e3)


def test_a_search_that_time_ends_on_the_way_up_keeps_what_was_found_below() -> None:
    tester = SimulatedTester(SimulatedSpec(capacity_pps=50e3, noise=0.0), record_rtt=False)
    below = upwards(tester, highest_load_pps=18e3)
    found = upwards(tester, highest_load_pps=500e3, max_search_s=below.duration_s * 1.2)
    assert found.max_load_pps == 18e3
    assert found.ndr.at_least_pps == pytest.approx(18e3)


def test_one_goal_can_be_irregular_while_the_other_is_not() -> None:
    result = run(SimulatedSpec(drop_one_in=1000), min_load_pps=100e3)
    assert result.ndr.kind is Irregularity.MIN_LOAD_LOSSY
    assert result.pdr.regular


def test_a_search_out_of_time_is_a_result_with_the_bounds_so_far() -> None:
    result = run(SimulatedSpec(noise=0.05), csit_goals(), max_search_s=20.0)
    assert result.ndr.kind is Irregularity.TIME_LIMIT
    assert "20 s" in str(result.ndr.irregularity)
    assert result.ndr.conditional_throughput_pps is None
    assert 20.0 <= result.duration_s < 22.0
    assert result.trials


def test_a_dying_dut_passes_through_and_its_finished_trials_were_handed_over() -> None:
    seen: list[TrialResult] = []
    with pytest.raises(ToolFailed, match="died in trial 8"):
        run(SimulatedSpec(dies_after_trials=7), on_trial=seen.append)
    assert len(seen) == 7


def test_the_warm_up_is_recorded_and_decides_nothing() -> None:
    class SlowStart(SimulatedTester):
        def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
            trial = super().measure(load_pps=load_pps, duration_s=duration_s)
            if self.trials == 1:
                return TrialResult(
                    intended_load_pps=load_pps,
                    duration_s=duration_s,
                    intended=trial.intended,
                    sent=trial.sent,
                    received=0,
                )
            return trial

    tester = SlowStart(SimulatedSpec(noise=0.0), record_rtt=False)
    ndr, pdr = software_goals()
    result = search(tester, ndr=ndr, pdr=pdr, min_load_pps=9e3, max_load_pps=1.2e6, clock=tester.clock)
    assert result.trials[0].received == 0
    assert result.trials[0].intended_load_pps == pytest.approx(1.2e6)
    assert result.ndr.conditional_throughput_pps == pytest.approx(1e6, rel=0.02)


def test_every_load_between_the_bounds_was_decided_by_the_goals_number_of_trials() -> None:
    result = run(SimulatedSpec(noise=0.02, seed=5))
    for goal in (result.ndr, result.pdr):
        at_lower = [t for t in result.trials[1:] if t.intended_load_pps == goal.relevant_lower_bound_pps]
        assert len(at_lower) >= goal.goal.trials_per_load // 2 + 1


def test_a_load_is_decided_by_the_first_eleven_trials_that_agree() -> None:
    """Of 21 at most: the rest could not change the answer, and is not made."""
    steady = run(SimulatedSpec(noise=0.0))
    assert software_goals()[0].deciding == (11, 11)
    for goal in (steady.ndr, steady.pdr):
        for bound in (goal.relevant_lower_bound_pps, goal.relevant_upper_bound_pps):
            assert len(at_load(steady.trials[1:], bound)) == 11
    noisy = run(SimulatedSpec(noise=0.03, seed=5))
    for goal in (noisy.ndr, noisy.pdr):
        lower, upper = (
            [t.loss_ratio > goal.goal.loss_ratio for t in at_load(noisy.trials[1:], bound)]
            for bound in (goal.relevant_lower_bound_pps, goal.relevant_upper_bound_pps)
        )
        assert lower.count(False) >= 11
        assert upper.count(True) >= 11
        assert max(len(lower), len(upper)) <= 21
    deviation = deviations(software_goals()[1])[-1]
    assert "decided by the first 11 that agree of at most 21 trials" in deviation
    assert rfc2544_goals()[0].deciding == (1, 1)


def test_progress_tells_phase_bounds_and_time_left() -> None:
    seen: list[SearchProgress] = []
    result = run(SimulatedSpec(noise=0.02), on_progress=seen.append)
    assert [p.trials for p in seen] == list(range(len(result.trials)))
    assert seen[0].phase == "warm-up"
    assert {p.phase for p in seen} == {"warm-up", "initial", "search"}
    assert seen[0].remaining_s > 0
    assert seen[-1].ndr_bounds_pps[0] is not None
    assert all(a.elapsed_s < b.elapsed_s for a, b in itertools.pairwise(seen))


def test_rfc2544_goals_end_on_one_minute_trials_without_loss() -> None:
    spec = SimulatedSpec(noise=0.0, buffer_frames=0)
    result = run(spec, rfc2544_goals(), max_search_s=1e6)
    final = [t for t in result.trials if t.intended_load_pps == result.ndr.relevant_lower_bound_pps]
    assert any(t.duration_s == 60.0 and t.lost == 0 for t in final)
    assert result.ndr.conditional_throughput_pps == pytest.approx(1e6, rel=0.006)


def test_presets_keep_the_goals_numbers_of_trials() -> None:
    assert [g.trials_per_load for g in (*csit_goals(), *software_goals(trial_duration_s=0.07))] == [21] * 4
    assert csit_goals()[0].loss_ratio == 0.0
    assert csit_goals()[1].loss_ratio == 0.005
    assert quick_goals()[0].exceed_ratio == 0.5
    assert rfc2544_goals()[0].exceed_ratio == 0.0


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="min_load_pps"):
        run(SimulatedSpec(), min_load_pps=2e6, max_load_pps=1e6)


def test_an_impossible_goal_is_refused_by_name() -> None:
    ndr, _ = software_goals()
    broken = Goal(
        name="PDR",
        loss_ratio=2.0,
        exceed_ratio=0.5,
        relative_width=0.01,
        initial_trial_duration_s=1.0,
        final_trial_duration_s=1.0,
        duration_sum_s=21.0,
    )
    with pytest.raises(ConfigInvalid, match="PDR"):
        run(SimulatedSpec(), (ndr, broken))
