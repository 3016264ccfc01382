"""NDR and PDR in one search (MLRsearch, RFC 9971), by the authors' own package.

The words are those of the RFC: a *regular* goal result has a relevant lower and a relevant upper bound no further
apart than the goal width, and so a conditional throughput; any other is *irregular* and claims none. Time is read
from `clock` alone, so that a search in virtual time ends in virtual time; running out of it is a result, not an
exception.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from labkit.errors import ConfigInvalid
from labkit.measure.goals import (
    Goal,
    csit_goals,
    deviations,
    quick_goals,
    rfc2544_goals,
    software_goals,
)
from labkit.measure.trial import Measurer, TrialResult

if TYPE_CHECKING:
    from labkit.measure.mlr import Engine

__all__ = [
    "Goal",
    "GoalResult",
    "Irregularity",
    "SearchProgress",
    "SearchResult",
    "at_load",
    "csit_goals",
    "deviations",
    "quick_goals",
    "rfc2544_goals",
    "search",
    "software_goals",
]


class Irregularity(StrEnum):
    """Why a goal result is irregular."""

    MIN_LOAD_LOSSY = "min-load-lossy"
    MAX_LOAD_LOSSLESS = "max-load-lossless"
    TIME_LIMIT = "time-limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalResult:
    """What the search found for one goal."""

    goal: Goal
    regular: bool
    """False where a bound is missing: then `irregularity` says why and no throughput is claimed."""
    irregularity: str | None
    relevant_lower_bound_pps: float | None
    relevant_upper_bound_pps: float | None
    conditional_throughput_pps: float | None
    """RFC 9971: forwarding rate at the relevant lower bound, over the trials that decide [pps]. The figure quoted."""
    kind: Irregularity | None = None
    """The irregularity as a word for programs."""

    @property
    def at_least_pps(self) -> float | None:
        """What can still be claimed when the maximum load itself passed: at least that load [pps]."""
        return self.relevant_lower_bound_pps if self.kind is Irregularity.MAX_LOAD_LOSSLESS else None


def at_load(trials: Sequence[TrialResult], load_pps: float | None) -> tuple[TrialResult, ...]:
    """Trials at a load, allowing for a rounding error of stored loads. None: no trial."""
    return tuple(
        trial
        for trial in trials
        if load_pps is not None
        and trial.intended_load_pps is not None
        and math.isclose(trial.intended_load_pps, load_pps, rel_tol=1e-7)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Both goals of one search, and every trial of it."""

    ndr: GoalResult
    pdr: GoalResult
    min_load_pps: float
    max_load_pps: float
    trials: tuple[TrialResult, ...]
    """In order. The first is the warm-up at the maximum load: recorded, but it decides nothing."""
    duration_s: float

    def deciding_trials(self) -> tuple[TrialResult, ...]:
        """Trials that the quoted figures rest on: those at a goal's relevant lower bound."""
        bounds = {self.ndr.relevant_lower_bound_pps, self.pdr.relevant_lower_bound_pps} - {None}
        return tuple(trial for bound in bounds for trial in at_load(self.trials[1:], bound))


def with_pdr_of(former: SearchResult, later: SearchResult) -> SearchResult:
    """The later search, with the PDR of the former one and the trials that it rests on."""
    return replace(later, pdr=former.pdr, trials=(later.trials[0], *former.trials[1:], *later.trials[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProgress:
    """The state of a search, before each trial."""

    phase: str
    """"warm-up", "initial" (at most three trials near the maximum) or "search"."""
    trials: int
    """Trials finished."""
    load_pps: float
    """Load of the trial that starts now."""
    duration_s: float
    ndr_bounds_pps: tuple[float | None, float | None]
    """Relevant lower and upper bound so far."""
    pdr_bounds_pps: tuple[float | None, float | None]
    elapsed_s: float
    remaining_s: float
    """An estimate: what is left of the usual number of trials, at the mean time per trial so far."""


def search(
    measurer: Measurer,
    *,
    ndr: Goal,
    pdr: Goal,
    min_load_pps: float,
    max_load_pps: float,
    clock: Callable[[], float] = time.monotonic,
    on_progress: Callable[[SearchProgress], None] | None = None,
    on_trial: Callable[[TrialResult], None] | None = None,
    max_search_s: float = 600.0,
) -> SearchResult:
    """Search for both goals at once.

    Choose `max_load_pps` a little above what the DUT can do (1.1 to 1.3 times its MRR): a maximum far above costs
    trials. What the measurer raises passes through; `on_trial` has seen every finished trial by then.
    """
    from labkit.measure.mlr import Engine  # slow to import, and who reads results needs the types above only

    if not 0.0 < min_load_pps < max_load_pps:
        raise ConfigInvalid(
            f"min_load_pps {min_load_pps:g}: expected more than 0, less than {max_load_pps:g}"
        )
    engine = Engine((ndr, pdr), min_load_pps=min_load_pps, max_load_pps=max_load_pps)
    trials: list[TrialResult] = []
    started_s = clock()

    def measure(load_pps: float, duration_s: float) -> TrialResult:
        elapsed_s = clock() - started_s
        if elapsed_s >= max_search_s:
            raise _OutOfTime
        if on_progress is not None:
            ndr_bounds, pdr_bounds = engine.bounds(ndr), engine.bounds(pdr)
            on_progress(
                SearchProgress(
                    # At most three trials near the maximum follow the warm-up, before bounds are narrowed.
                    phase="warm-up" if not trials else "initial" if len(trials) <= 3 else "search",
                    trials=len(trials),
                    load_pps=load_pps,
                    duration_s=duration_s,
                    ndr_bounds_pps=(ndr_bounds.lower_pps, ndr_bounds.upper_pps),
                    pdr_bounds_pps=(pdr_bounds.lower_pps, pdr_bounds.upper_pps),
                    elapsed_s=elapsed_s,
                    remaining_s=_remaining_s(
                        ndr, pdr, done=len(trials), elapsed_s=elapsed_s, max_search_s=max_search_s
                    ),
                )
            )
        trial = measurer.measure(load_pps=load_pps, duration_s=duration_s)
        trials.append(trial)
        if on_trial is not None:
            on_trial(trial)
        return trial

    limit_s = None
    try:
        engine.run(measure)
    except _OutOfTime:
        limit_s = max_search_s
    return SearchResult(
        ndr=_goal_result(ndr, engine, min_load_pps=min_load_pps, max_load_pps=max_load_pps, limit_s=limit_s),
        pdr=_goal_result(pdr, engine, min_load_pps=min_load_pps, max_load_pps=max_load_pps, limit_s=limit_s),
        min_load_pps=min_load_pps,
        max_load_pps=max_load_pps,
        trials=tuple(trials),
        duration_s=clock() - started_s,
    )


WIDEN = 4.0
"""Factor by which the next search goes higher if the maximum load itself passed."""


def search_upwards(
    measurer: Measurer,
    *,
    ndr: Goal,
    pdr: Goal,
    min_load_pps: float,
    max_load_pps: float,
    highest_load_pps: float,
    clock: Callable[[], float] = time.monotonic,
    on_progress: Callable[[SearchProgress], None] | None = None,
    on_trial: Callable[[TrialResult], None] | None = None,
    max_search_s: float = 600.0,
) -> SearchResult:
    """Search below `max_load_pps`, and up to `highest_load_pps` (what the tester can offer) if that load passed.

    `max_load_pps` is a guess from what a path forwards under overload, and some forward far less then than they can:
    one in receive livelock (Mogul and Ramakrishnan, 1997) next to nothing. The time limit is for all searches together;
    the result is that of the highest search that was completed.
    """
    left_s = max_search_s
    before: SearchResult | None = None
    while True:
        found = search(
            measurer,
            ndr=ndr,
            pdr=pdr,
            min_load_pps=min_load_pps,
            max_load_pps=max_load_pps,
            clock=clock,
            on_progress=on_progress,
            on_trial=on_trial,
            max_search_s=left_s,
        )
        kinds = (found.ndr.kind, found.pdr.kind)
        if before is not None and Irregularity.TIME_LIMIT in kinds:
            return before
        left_s -= found.duration_s
        carried = Irregularity.MAX_LOAD_LOSSLESS in kinds
        if not carried or max_load_pps >= highest_load_pps or left_s <= 0.0:
            return found
        before, max_load_pps = found, min(WIDEN * max_load_pps, highest_load_pps)


class _OutOfTime(Exception):
    """Raised through the engine when `max_search_s` is over."""


def _remaining_s(ndr: Goal, pdr: Goal, *, done: int, elapsed_s: float, max_search_s: float) -> float:
    """About four loads per goal are decided by two thirds of a full set of trials each; the others lead there."""
    expected = sum(2.7 * goal.trials_per_load + 8 for goal in (ndr, pdr))
    each_s = elapsed_s / done if done else pdr.initial_trial_duration_s
    left = max(expected - done, 0.2 * ndr.trials_per_load)
    return min(left * each_s, max(max_search_s - elapsed_s, 0.0))


def _goal_result(
    goal: Goal, engine: Engine, *, min_load_pps: float, max_load_pps: float, limit_s: float | None
) -> GoalResult:
    """Read a goal's result; `limit_s` is the time limit where the search ran into it."""
    found = engine.bounds(goal)
    lower, upper = found.lower_pps, found.upper_pps
    narrow = lower is not None and upper is not None and upper - lower <= goal.relative_width * upper
    kind, why = None, None
    if limit_s is not None and not narrow:
        kind = Irregularity.TIME_LIMIT
        why = f"stopped after {limit_s:g} s, before the bounds were within {goal.relative_width:.2%}"
    elif lower is None:
        kind = Irregularity.MIN_LOAD_LOSSY
        why = f"the minimum load ({min_load_pps:g} pps) already loses more than {goal.loss_ratio:.1%}"
    elif upper is None:
        kind = Irregularity.MAX_LOAD_LOSSLESS
        why = f"the maximum load ({max_load_pps:g} pps) loses no more than {goal.loss_ratio:.1%}"
    return GoalResult(
        goal=goal,
        regular=kind is None,
        irregularity=why,
        relevant_lower_bound_pps=lower,
        relevant_upper_bound_pps=upper,
        conditional_throughput_pps=None if kind else found.conditional_throughput_pps,
        kind=kind,
    )
