"""Was it the DUT, or the tester? The tester's own ceiling, and what it does to a result."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.measure.rates import Mrr
from labkit.measure.search import GoalResult, Irregularity, SearchResult, at_load
from labkit.measure.trial import TrialResult

MARGIN = 0.05
"""A result within this share of the ceiling is the tester's own."""

DUT, TESTER, NONE = "dut", "tester", "none"


def ceiling_pps(trials: Sequence[TrialResult]) -> float:
    """The most that the tester sent in any of these trials (made as fast as it goes) [pps]."""
    return max(trial.offered_pps for trial in trials)


def goal_limited_by(result: GoalResult, trials: Sequence[TrialResult], *, ceiling_pps: float | None) -> str:
    """Say whose limit a goal result shows: "dut", "tester" (read it as "at least") or "none" (no upper bound).

    It is the tester's when the result is within 5 % of the ceiling, or when most of what is missing at the relevant
    upper bound was never sent.
    """
    found_pps = result.conditional_throughput_pps or result.relevant_lower_bound_pps
    if found_pps is not None and ceiling_pps is not None and found_pps >= (1 - MARGIN) * ceiling_pps:
        return TESTER
    upper_pps = result.relevant_upper_bound_pps
    if upper_pps is None:
        return NONE if result.kind in (Irregularity.MAX_LOAD_LOSSLESS, Irregularity.TIME_LIMIT) else DUT
    at_upper = at_load(trials, upper_pps)
    unsent = sum(trial.unsent for trial in at_upper)
    lost = sum(trial.lost for trial in at_upper)
    return TESTER if unsent > lost else DUT


def search_limited_by(result: SearchResult, *, ceiling_pps: float | None) -> str:
    """The row's limit: the tester's as soon as either goal's is, then none, then the DUT's."""
    found = {
        goal_limited_by(goal, result.trials[1:], ceiling_pps=ceiling_pps) for goal in (result.ndr, result.pdr)
    }
    return next(limit for limit in (TESTER, NONE, DUT) if limit in found)


def mrr_limited_by(mrr: Mrr, *, ceiling_pps: float | None) -> str:
    """An MRR is the tester's when nearly all that was sent came back: the DUT could have taken more."""
    sent = sum(trial.sent for trial in mrr.trials)
    lost = sum(trial.lost for trial in mrr.trials)
    near = ceiling_pps is not None and mrr.median_pps >= (1 - MARGIN) * ceiling_pps
    return TESTER if near or lost <= MARGIN * sent else DUT
