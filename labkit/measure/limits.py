"""Whether the DUT or the tester limits a result, by the tester's maximum offered load (RFC 2285 3.5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labkit import format as fmt
from labkit.measure.gate import MAX_OFFERED_LOAD, Gate
from labkit.measure.rates import Mrr
from labkit.measure.search import GoalResult, Irregularity, SearchResult, at_load
from labkit.measure.trial import Histogram, TrialResult

MARGIN = 0.05
"""A result within this share of the maximum offered load is limited by the tester."""

DUT, TESTER, NONE = "dut", "tester", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxOfferedLoad:
    """The maximum offered load on a link, and whether the machine was quiet when it was measured."""

    pps: float
    disturbed: tuple[Gate, ...] = ()
    """The gates that were invalid. The true maximum may be higher then, never lower: each frame was counted."""
    floor: Histogram | None = None
    """The tester's own round trips, opposite the cheapest reflector there is; None: not measured."""
    floor_disturbed: tuple[Gate, ...] = ()
    """The gates that were invalid meanwhile: then its times may be too long, and not the tester's."""

    def gate(self, result: Mrr | SearchResult) -> Gate:
        """Whether it can say whose limit the result shows. It only warns: the rates are right, "at least" may be wrong.

        A maximum that came out too low, in a moment of noise, makes the DUT's limit look like the tester's. Where the
        trials themselves show whose limit it is, or the rates are far from it, that changes nothing.
        """
        words = "".join(f"; measured while {gate.name} was {gate.value}" for gate in self.disturbed)
        return Gate(
            name=MAX_OFFERED_LOAD,
            state="warn" if self.disturbed and _decides(self.pps, result) else "ok",
            value=f"{fmt.pps(self.pps)}{words}",
            limit='warn if it was disturbed and it alone makes a rate "at least"',
            why="a maximum offered load that is too low makes the DUT's limit look like the tester's",
        )


def _decides(max_offered_load_pps: float, result: Mrr | SearchResult) -> bool:
    """Whether the maximum offered load alone makes a limit the tester's."""
    if isinstance(result, Mrr):
        return (
            TESTER
            == mrr_limited_by(result, max_offered_load_pps=max_offered_load_pps)
            != mrr_limited_by(result, max_offered_load_pps=None)
        )
    return any(
        TESTER
        == goal_limited_by(goal, result.trials[1:], max_offered_load_pps=max_offered_load_pps)
        != goal_limited_by(goal, result.trials[1:], max_offered_load_pps=None)
        for goal in (result.ndr, result.pdr)
    )


def limited_by(result: Mrr | SearchResult, *, max_offered_load_pps: float | None) -> str:
    """Whose limit the row shows: dut, tester or none."""
    if isinstance(result, Mrr):
        return mrr_limited_by(result, max_offered_load_pps=max_offered_load_pps)
    return search_limited_by(result, max_offered_load_pps=max_offered_load_pps)


def _near(found_pps: float | None, max_offered_load_pps: float | None) -> bool:
    return (
        found_pps is not None
        and max_offered_load_pps is not None
        and found_pps >= (1 - MARGIN) * max_offered_load_pps
    )


def _held_up(trials: Sequence[TrialResult]) -> bool:
    """Whether frames were unsent because the link had no room: then the far end was slow, not the tester."""
    return any(trial.tx_full for trial in trials)


def goal_limited_by(
    result: GoalResult, trials: Sequence[TrialResult], *, max_offered_load_pps: float | None
) -> str:
    """Say whose limit a goal result shows: "dut", "tester" (read it as "at least") or "none" (no upper bound).

    It is the tester's when the result is within 5 % of the maximum offered load, or when most of the frames missing at
    the relevant upper bound were never sent although the link had room.
    """
    if _near(result.conditional_throughput_pps or result.relevant_lower_bound_pps, max_offered_load_pps):
        return TESTER
    upper_pps = result.relevant_upper_bound_pps
    if upper_pps is None:
        return NONE if result.kind in (Irregularity.MAX_LOAD_LOSSLESS, Irregularity.TIME_LIMIT) else DUT
    at_upper = at_load(trials, upper_pps)
    unsent = sum(trial.unsent for trial in at_upper)
    lost = sum(trial.lost for trial in at_upper)
    return TESTER if unsent > lost and not _held_up(at_upper) else DUT


def search_limited_by(result: SearchResult, *, max_offered_load_pps: float | None) -> str:
    """The row's limit: the tester's as soon as either goal's is, then none, then the DUT's."""
    found = {
        goal_limited_by(goal, result.trials[1:], max_offered_load_pps=max_offered_load_pps)
        for goal in (result.ndr, result.pdr)
    }
    return next(limit for limit in (TESTER, NONE, DUT) if limit in found)


def mrr_limited_by(mrr: Mrr, *, max_offered_load_pps: float | None) -> str:
    """The tester limits an MRR near the maximum offered load, or one without loss and with room on the link."""
    sent = sum(trial.sent for trial in mrr.trials)
    lost = sum(trial.lost for trial in mrr.trials)
    if _near(mrr.median_pps, max_offered_load_pps):
        return TESTER
    return TESTER if lost <= MARGIN * sent and not _held_up(mrr.trials) else DUT
