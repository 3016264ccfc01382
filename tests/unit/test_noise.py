"""Gates, the stability preflight, and whose limit a result shows."""

from __future__ import annotations

import dataclasses
import random

import pytest

from labkit.lab.simulation import SimulatedSpec
from labkit.measure.gate import Gate
from labkit.measure.limits import MaxOfferedLoad, goal_limited_by, mrr_limited_by, search_limited_by
from labkit.measure.noise import (
    ONE_MACHINE,
    CpuTicks,
    NoiseReading,
    affinity_gate,
    clock_gate,
    contention_gate,
    gates,
    offered_gate,
    proof_gate,
    stall_gate,
    steal_gate,
    switches_gate,
    unsent_gate,
)
from labkit.measure.rates import measure_mrr
from labkit.measure.search import SearchResult, search, software_goals
from labkit.measure.stability import measure_stability, misjudge_probability, stability
from labkit.measure.trial import TrialResult
from labkit.testers.simulated import SimulatedTester

NDR, PDR = software_goals()


def reading(
    steal: int = 0, total: int = 1000, clocksource: str = "tsc", **allowed: tuple[int, ...]
) -> NoiseReading:
    return NoiseReading(
        cpus={0: CpuTicks(steal=0, total=total), 1: CpuTicks(steal=steal, total=total)},
        clocksource=clocksource,
        allowed_cores=allowed,
    )


def trial(
    *, intended: int = 10_000, sent: int | None = None, received: int | None = None, **more: object
) -> TrialResult:
    sent = intended if sent is None else sent
    return TrialResult(
        intended_load_pps=10_000.0,
        duration_s=1.0,
        intended=intended,
        sent=sent,
        received=sent if received is None else received,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("steal", "state"), [(0, "ok"), (10, "ok"), (11, "warn"), (100, "warn"), (101, "invalid")]
)
def test_steal_warns_above_a_tenth_and_invalidates_above_one_percent(steal: int, state: str) -> None:
    gate = steal_gate(reading(), reading(steal=steal, total=11_000))
    assert gate.state == state
    assert "on CPU" in gate.value


def test_steal_that_was_not_read_is_not_called_ok() -> None:
    assert steal_gate(reading(), reading()).state == "warn"


@pytest.mark.parametrize(
    ("others", "state"), [(0, "ok"), (3, "ok"), (22, "ok"), (23, "warn"), (55, "warn"), (56, "invalid")]
)
def test_other_programs_on_a_workers_core_are_contention(others: int, state: str) -> None:
    def at(total: int, user: int, own: int) -> NoiseReading:
        return NoiseReading(
            cpus={0: CpuTicks(steal=0, total=total, user=user)},
            clocksource="tsc",
            allowed_cores={},
            own_user={0: own},
        )

    # Our own worker and the controller used 700 of 1100 ticks themselves.
    gate = contention_gate(at(500, 100, 90), at(1600, 800 + others, 790))
    assert gate.state == state
    assert "of CPU 0" in gate.value


def test_contention_that_was_not_read_is_not_called_ok() -> None:
    assert contention_gate(reading(), reading()).state == "warn"


def test_a_worker_on_another_core_or_two_on_one_is_invalid() -> None:
    intended = {"tester": 0, "dut": 1}
    assert affinity_gate(reading(tester=(0,), dut=(1,)), intended=intended).state == "ok"
    moved = affinity_gate(reading(tester=(0,), dut=(0, 1)), intended=intended)
    assert moved.state == "invalid"
    assert "dut: 0,1, not 1" in moved.value
    assert affinity_gate(reading(tester=(0,)), intended=intended).state == "invalid"
    both = affinity_gate(reading(tester=(1,), dut=(1,)), intended={"tester": 1, "dut": 1})
    assert both.state == "invalid"


def test_a_clock_that_changes_is_invalid_and_a_poor_one_warns() -> None:
    assert clock_gate(reading(), reading()).state == "ok"
    assert clock_gate(reading(), reading(clocksource="hpet")).state == "invalid"
    assert clock_gate(reading(clocksource="hpet"), reading(clocksource="hpet")).state == "warn"


@pytest.mark.parametrize(
    ("sent", "state"), [(10_000, "ok"), (9_990, "ok"), (9_980, "warn"), (9_899, "invalid")]
)
def test_unsent_frames_warn_and_then_invalidate(sent: int, state: str) -> None:
    assert unsent_gate([trial(sent=sent)]).state == state


def test_a_few_trials_cut_short_do_not_speak_for_the_rest() -> None:
    gate = unsent_gate([trial(sent=5_000)] * 2 + [trial()] * 3)
    assert (gate.state, gate.value) == ("ok", "0.000%, in the worst trial 50.000%")
    assert unsent_gate([trial(sent=5_000)] * 3 + [trial()] * 2).state == "invalid"


def test_an_offered_load_off_by_more_than_one_percent_either_way_is_invalid() -> None:
    assert offered_gate([trial(sent=9_901)]).state == "ok"
    assert offered_gate([trial(sent=9_899)]).state == "invalid"
    assert offered_gate([trial(sent=10_101, received=10_000)]).state == "invalid"
    free = dataclasses.replace(trial(), intended_load_pps=None)
    assert offered_gate([free]).state == "ok"


def test_stalls_and_switches_of_the_tester_show() -> None:
    assert stall_gate([trial(stall_total_s=0.009)]).state == "ok"
    late = stall_gate([trial(stall_total_s=0.02, stall_max_s=0.004)])
    assert (late.state, late.value) == ("warn", "2.00%, longest 4.00 ms")
    as_fast_as_it_goes = dataclasses.replace(trial(stall_total_s=0.9), intended_load_pps=None)
    assert stall_gate([as_fast_as_it_goes]).state == "ok"
    assert switches_gate([trial(involuntary_switches=1)]).state == "ok"
    assert switches_gate([trial(involuntary_switches=500)]).state == "warn"


def test_an_unproven_datapath_is_invalid() -> None:
    assert proof_gate(proven=False, claim="native XDP").state == "invalid"
    assert proof_gate(proven=True, claim="native XDP").value == "native XDP"


def test_all_gates_are_there_and_only_the_broken_one_is_not_ok() -> None:
    found = gates(
        before={ONE_MACHINE: reading(total=1000)},
        after={ONE_MACHINE: reading(total=9000, tester=(0,), dut=(1,))},
        intended_cores={ONE_MACHINE: {"tester": 0, "dut": 1}},
        deciding=[trial(sent=9_000)],
        proven=True,
        claim="sockets",
    )
    broken = {gate.name for gate in found if gate.state != "ok"}
    assert broken == {"unsent", "offered"}
    assert {"proof", "steal", "affinity", "clock", "stall", "switches"} <= {gate.name for gate in found}


def test_the_probability_of_misjudging_is_the_share_seen_in_simulation() -> None:
    draw = random.Random(3)
    for share in (0.2, 0.3, 0.45, 0.6):
        hits = sum(sum(draw.random() < share for _ in range(21)) > 10 for _ in range(20_000)) / 20_000
        assert misjudge_probability(share, trials_per_load=21, exceed_ratio=0.5) == pytest.approx(
            hits, abs=0.012
        )


def test_one_bad_trial_decides_where_none_may_exceed() -> None:
    assert misjudge_probability(0.1, trials_per_load=1, exceed_ratio=0.0) == pytest.approx(0.1)


def state(found: tuple[Gate, Gate]) -> tuple[str, str]:
    return found[0].state, found[1].state


def test_few_lossy_trials_leave_both_rates_measurable() -> None:
    made = [trial(received=9_999 if i < 4 else None) for i in range(20)]
    assert state(stability(made, ndr=NDR, pdr=PDR).gates()) == ("ok", "ok")


def test_many_slightly_lossy_trials_take_ndr_away_and_leave_pdr() -> None:
    made = [trial(received=9_999 if i < 14 else None) for i in range(20)]
    found = stability(made, ndr=NDR, pdr=PDR)
    assert state(found.gates()) == ("ok", "invalid")
    assert not found.ndr_measurable
    assert "NDR not measurable here: 14 of 20" in found.gates()[1].value


def test_heavy_loss_at_next_to_no_load_takes_both() -> None:
    assert state(stability([trial(received=9_000)] * 20, ndr=NDR, pdr=PDR).gates()) == ("invalid", "invalid")


def test_a_third_of_trials_lossy_is_doubtful() -> None:
    made = [trial(received=9_999 if i < 7 else None) for i in range(20)]
    assert state(stability(made, ndr=NDR, pdr=PDR).gates()) == ("ok", "warn")


@pytest.mark.parametrize(("lossy", "least", "most"), [(0.2, 0.0, 0.1), (0.5, 0.3, 0.9)])
def test_searches_go_wrong_about_as_often_as_the_preflight_says(
    lossy: float, least: float, most: float
) -> None:
    wrong = 0
    for seed in range(20):
        result = find(SimulatedSpec(noise=0.03, lossy_trials=lossy, seed=seed), 1.2e6)
        bound = result.ndr.relevant_lower_bound_pps
        wrong += bound is None or bound < 0.9e6
    assert least <= wrong / 20 <= most
    assert least <= misjudge_probability(lossy, trials_per_load=21, exceed_ratio=0.5) <= most


def test_half_of_all_trials_lossy_is_not_measurable() -> None:
    made = [trial(received=9_900 if i < 10 else None) for i in range(20)]
    assert state(stability(made, ndr=NDR, pdr=PDR).gates()) == ("invalid", "invalid")


def test_the_preflight_says_at_what_load_it_was_made() -> None:
    tester = SimulatedTester(SimulatedSpec(lossy_trials=0.9), record_rtt=False)
    found = measure_stability(tester, load_pps=1e5, ndr=NDR, pdr=PDR)
    assert found.trials == tester.trials == 20
    assert "trials at 100000 pps" in found.gates()[0].value
    assert not found.ndr_measurable


def find(spec: SimulatedSpec, max_load_pps: float) -> SearchResult:
    tester = SimulatedTester(spec, record_rtt=False)
    return search(tester, ndr=NDR, pdr=PDR, min_load_pps=9e3, max_load_pps=max_load_pps, clock=tester.clock)


def test_a_slow_dut_is_its_own_limit() -> None:
    result = find(SimulatedSpec(max_offered_load_pps=5e6), 1.3e6)
    assert search_limited_by(result, max_offered_load_pps=5e6) == "dut"


def test_a_result_near_the_maximum_offered_load_is_the_testers() -> None:
    result = find(SimulatedSpec(max_offered_load_pps=1.02e6), 1.3e6)
    assert search_limited_by(result, max_offered_load_pps=1.02e6) == "tester"


@pytest.mark.parametrize(
    ("capacity_pps", "max_offered_load_pps", "disturbed", "state"),
    [
        (1.0e6, 1.02e6, True, "warn"),
        (1.0e6, 1.02e6, False, "ok"),
        (1.0e6, 0.8e6, True, "warn"),  # it forwards more than can be offered, so to say
        (1.0e6, 1.2e6, True, "ok"),  # too far from it to be made a lower bound
        (5.0e6, 1.5e6, True, "ok"),  # no loss: the trials themselves show that the tester is the limit
    ],
)
def test_a_disturbed_maximum_offered_load_warns_where_it_alone_makes_a_rate_a_lower_bound(
    capacity_pps: float, max_offered_load_pps: float, disturbed: bool, state: str
) -> None:
    steal = steal_gate(reading(total=0), reading(steal=20))
    load = MaxOfferedLoad(pps=max_offered_load_pps, disturbed=(steal,) if disturbed else ())
    spec = SimulatedSpec(capacity_pps=capacity_pps, max_offered_load_pps=2e6, noise=0.0)
    mrr = measure_mrr(SimulatedTester(spec, record_rtt=False), max_load_pps=None, duration_s=0.1)
    for gate in (load.gate(mrr), load.gate(find(spec, 3e6))):
        assert (gate.name, gate.state) == ("max-offered-load", state)
        assert ("measured while steal was 2.00% on CPU 1" in gate.value) is disturbed


def test_loss_that_was_never_sent_is_the_testers_even_where_the_maximum_offered_load_is_unknown() -> None:
    result = find(SimulatedSpec(capacity_pps=5e6, max_offered_load_pps=1e6), 1.5e6)
    assert result.ndr.regular
    assert goal_limited_by(result.ndr, result.trials, max_offered_load_pps=None) == "tester"
    assert search_limited_by(result, max_offered_load_pps=None) == "tester"


def test_a_maximum_load_without_loss_below_the_maximum_offered_load_has_no_limit() -> None:
    result = find(SimulatedSpec(capacity_pps=5e6), 1e6)
    assert search_limited_by(result, max_offered_load_pps=20e6) == "none"


def test_a_path_that_loses_at_every_load_is_the_duts() -> None:
    result = find(SimulatedSpec(drop_one_in=50), 1e6)
    assert search_limited_by(result, max_offered_load_pps=20e6) == "dut"


def test_an_mrr_that_lost_next_to_nothing_is_the_testers() -> None:
    slow_tester = SimulatedTester(SimulatedSpec(capacity_pps=5e6, max_offered_load_pps=1e6), record_rtt=False)
    mrr = measure_mrr(slow_tester, max_load_pps=None, duration_s=0.1)
    assert mrr_limited_by(mrr, max_offered_load_pps=None) == "tester"
    fast = SimulatedTester(SimulatedSpec(), record_rtt=False)
    assert (
        mrr_limited_by(measure_mrr(fast, max_load_pps=None, duration_s=0.1), max_offered_load_pps=20e6)
        == "dut"
    )


def test_what_the_far_end_held_up_is_not_the_testers_limit() -> None:
    """Frames that were due and found no room on the link were held up by the DUT, or by the link on its behalf."""
    slow = SimulatedTester(SimulatedSpec(max_offered_load_pps=1e6, capacity_pps=5e6, noise=0.0))
    mrr = measure_mrr(slow, max_load_pps=None, duration_s=0.1)
    assert mrr_limited_by(mrr, max_offered_load_pps=20e6) == "tester"
    held_up = dataclasses.replace(mrr, trials=tuple(dataclasses.replace(t, tx_full=9) for t in mrr.trials))
    assert mrr_limited_by(held_up, max_offered_load_pps=20e6) == "dut"
    assert mrr_limited_by(held_up, max_offered_load_pps=1.01e6) == "tester"
