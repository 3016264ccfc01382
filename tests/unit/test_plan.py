"""Plans of a run, and what a tester that makes no short trials makes of them."""

from __future__ import annotations

import pytest

from labkit.session.plan import plan_for


@pytest.mark.parametrize("quick", [True, False])
def test_a_tester_that_makes_no_short_trials_makes_as_many_and_has_the_time_for_them(quick: bool) -> None:
    plan = plan_for(quick=quick, rfc2544=False)
    longer = plan.lengthened(0.5)
    for before, after in ((plan.ndr, longer.ndr), (plan.pdr, longer.pdr)):
        assert after.initial_trial_duration_s == after.final_trial_duration_s == 0.5
        assert after.trials_per_load == before.trials_per_load
        assert after.deciding == before.deciding
    assert min(longer.mrr_duration_s, longer.loss_duration_s, longer.latency_min_duration_s) == 0.5
    assert longer.max_search_s > 80 * 0.5
    assert not quick or longer.max_search_s < 60, "a quick search is over in a minute"
    assert longer.deviations[0] == "final trials of 0.5 s, RFC 2544 24 asks for 60 s"
    assert longer.deviations[1:] == plan.deviations[1:]


def test_a_plan_whose_trials_are_long_enough_stays_as_it_is() -> None:
    long = plan_for(quick=False, rfc2544=True)
    assert long.lengthened(0.5) is long
    short = plan_for(quick=True, rfc2544=False)
    assert short.lengthened(0.0) is short
