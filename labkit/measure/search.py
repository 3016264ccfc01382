"""NDR and PDR in one search (MLRsearch, RFC 9971), by the authors' own package.

The package speaks an older draft; here its words become those of the RFC: a *regular* goal result has a relevant
lower and a relevant upper bound no further apart than the goal width, and so a conditional throughput; any other
is *irregular* and claims none. The package's own time limit reads the wall clock; this one reads `clock`, so that
a search in virtual time ends in virtual time, and running out of it is a result, not an exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import MLRsearch

from labkit.errors import ConfigInvalid
from labkit.measure.trial import Measurer, TrialResult

_NEVER_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A search goal with all its attributes (RFC 9971, "Search Goal")."""

    name: str
    """"NDR" or "PDR"."""
    loss_ratio: float
    exceed_ratio: float
    relative_width: float
    initial_trial_duration_s: float
    final_trial_duration_s: float
    duration_sum_s: float
    """Sum of full-length trials a load needs: duration_sum / final_trial_duration trials per load."""
    preceding_targets: int = 2
    """Coarser targets on the way to this one: a matter of speed, not of the result."""

    @property
    def trials_per_load(self) -> int:
        """Full-length trials that classify a load (fewer where the rest cannot change the answer)."""
        return round(self.duration_sum_s / self.final_trial_duration_s)


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
        return tuple(trial for trial in self.trials[1:] if trial.intended_load_pps in bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a search stands, before each trial."""

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
    """A guess: what such a search usually takes, less what it took, at the cost of a trial so far."""


def _goals(
    *,
    loss_ratio: float,
    relative_width: float,
    trial_duration_s: float,
    trials_per_load: int,
    exceed_ratio: float,
) -> tuple[Goal, Goal]:
    def goal(name: str, loss: float) -> Goal:
        return Goal(
            name=name,
            loss_ratio=loss,
            exceed_ratio=exceed_ratio,
            relative_width=relative_width,
            initial_trial_duration_s=trial_duration_s,
            final_trial_duration_s=trial_duration_s,
            duration_sum_s=trial_duration_s * trials_per_load,
        )

    return goal("NDR", 0.0), goal("PDR", loss_ratio)


def csit_goals() -> tuple[Goal, Goal]:
    """NDR and PDR as FD.io CSIT searches for them: 1 s trials, 21 a load, width 0.5 %. Takes minutes."""
    return _goals(
        loss_ratio=0.005, relative_width=0.005, trial_duration_s=1.0, trials_per_load=21, exceed_ratio=0.5
    )


def software_goals(*, trial_duration_s: float = 0.1) -> tuple[Goal, Goal]:
    """CSIT's goals with shorter trials and a wider width (1 %), for links in software.

    A short trial flatters: what the DUT's buffers hold when it ends counts as forwarded, so that the answer is
    buffer / duration too high (1000 frames in 0.1 s: 10 kpps). tests/unit/test_search_accuracy.py has the table of
    how near it comes to the truth of a simulated DUT, and at what cost.
    """
    return _goals(
        loss_ratio=0.005,
        relative_width=0.01,
        trial_duration_s=trial_duration_s,
        trials_per_load=21,
        exceed_ratio=0.5,
    )


def quick_goals() -> tuple[Goal, Goal]:
    """A first look in a few seconds: 30 ms trials, still 21 a load, width 3 %. Flattered by buffer / 30 ms."""
    return _goals(
        loss_ratio=0.005, relative_width=0.03, trial_duration_s=0.03, trials_per_load=21, exceed_ratio=0.5
    )


def rfc2544_goals() -> tuple[Goal, Goal]:
    """RFC 2544 compliant per RFC 9971: final trials of 60 s, one a load, none may exceed the goal's loss."""
    ndr, pdr = (
        Goal(
            name=name,
            loss_ratio=loss_ratio,
            exceed_ratio=0.0,
            relative_width=0.005,
            initial_trial_duration_s=1.0,
            final_trial_duration_s=60.0,
            duration_sum_s=60.0,
        )
        for name, loss_ratio in (("NDR", 0.0), ("PDR", 0.005))
    )
    return ndr, pdr


def deviations(goal: Goal) -> tuple[str, ...]:
    """Where a search for this goal departs from RFC 2544 (sections 24 and 26.1), as RFC 9971 asks to be told."""
    found = []
    if goal.final_trial_duration_s < 60.0:
        found.append(
            f"{goal.name}: final trials of {goal.final_trial_duration_s:g} s, RFC 2544 asks for 60 s"
        )
    if goal.exceed_ratio > 0.0:
        found.append(
            f"{goal.name}: {goal.trials_per_load} trials a load, of which {goal.exceed_ratio:.0%} may exceed the loss "
            "ratio; RFC 2544 allows none"
        )
    return tuple(found)


class _OutOfTime(Exception):
    """Raised through the package when `max_search_s` is over."""


class _Adapter(MLRsearch.AbstractMeasurer):  # type: ignore[misc]  # the package has no type marker
    """The package's measurer over ours; keeps every trial and the time."""

    def __init__(
        self,
        measurer: Measurer,
        *,
        clock: Callable[[], float],
        max_search_s: float,
        before: Callable[[_Adapter, float, float], None],
        on_trial: Callable[[TrialResult], None] | None,
    ) -> None:
        self.trials: list[TrialResult] = []
        self.started_s = clock()
        self._clock = clock
        self._measurer = measurer
        self._max_search_s = max_search_s
        self._before = before
        self._on_trial = on_trial

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self.started_s

    def measure(self, intended_duration: float, intended_load: float) -> MLRsearch.MeasurementResult:
        if self.elapsed_s >= self._max_search_s:
            raise _OutOfTime
        self._before(self, intended_load, intended_duration)
        trial = self._measurer.measure(load_pps=intended_load, duration_s=intended_duration)
        self.trials.append(trial)
        if self._on_trial is not None:
            self._on_trial(trial)
        # The overhead is left out on purpose: the package would add it to the duration sum, and short trials
        # would then decide on fewer than the goal's number.
        return MLRsearch.MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            intended_count=max(trial.intended, trial.sent),
            offered_count=trial.sent,
            forwarding_count=trial.received,
        )


def search(
    measurer: Measurer,
    *,
    ndr: Goal,
    pdr: Goal,
    min_load_pps: float,
    max_load_pps: float,
    clock: Callable[[], float] = time.monotonic,
    on_progress: Callable[[Progress], None] | None = None,
    on_trial: Callable[[TrialResult], None] | None = None,
    max_search_s: float = 600.0,
) -> SearchResult:
    """Search for both goals at once.

    Choose `max_load_pps` a little above what the DUT can do (1.1 to 1.3 times its MRR): a maximum far above costs
    trials. What the measurer raises passes through; `on_trial` has seen every finished trial by then.
    """
    if not 0.0 < min_load_pps < max_load_pps:
        raise ConfigInvalid(
            f"min_load_pps {min_load_pps:g}: expected more than 0 and less than {max_load_pps:g}"
        )
    config = MLRsearch.Config()
    goals = {
        "NDR": _library_goal(ndr),
        "PDR": _library_goal(pdr),
    }
    config.goals = list(dict.fromkeys(goals.values()))
    config.min_load = min(config.min_load, min_load_pps)
    config.max_load = max_load_pps
    config.min_load = min_load_pps
    config.search_duration_max = _NEVER_S
    config.warmup_duration = pdr.initial_trial_duration_s
    engine = MLRsearch.MultipleLossRatioSearch(config)

    def bounds(name: str) -> tuple[float | None, float | None]:
        found = engine.database.get_relevant_bounds(engine.scaling.goal_to_final_target[goals[name]])
        return (
            None if found.clo is None else float(found.clo),
            None if found.chi is None else float(found.chi),
        )

    def before(adapter: _Adapter, load_pps: float, duration_s: float) -> None:
        if on_progress is None:
            return
        done = len(adapter.trials)
        on_progress(
            Progress(
                phase="warm-up" if done == 0 else "initial" if done < 4 else "search",
                trials=done,
                load_pps=load_pps,
                duration_s=duration_s,
                ndr_bounds_pps=bounds("NDR"),
                pdr_bounds_pps=bounds("PDR"),
                elapsed_s=adapter.elapsed_s,
                remaining_s=_remaining_s(ndr, pdr, adapter, max_search_s),
            )
        )

    adapter = _Adapter(measurer, clock=clock, max_search_s=max_search_s, before=before, on_trial=on_trial)
    timed_out = False
    try:
        engine.search(adapter, debug=_silent)
    except _OutOfTime:
        timed_out = True
    return SearchResult(
        ndr=_goal_result(ndr, engine, goals["NDR"], timed_out=timed_out, max_search_s=max_search_s),
        pdr=_goal_result(pdr, engine, goals["PDR"], timed_out=timed_out, max_search_s=max_search_s),
        min_load_pps=min_load_pps,
        max_load_pps=max_load_pps,
        trials=tuple(adapter.trials),
        duration_s=adapter.elapsed_s,
    )


def _silent(_text: str) -> None:
    """Take the package's debug lines, which would otherwise cost more than a trial's bookkeeping."""


def _library_goal(goal: Goal) -> MLRsearch.SearchGoal:
    try:
        return MLRsearch.SearchGoal(
            loss_ratio=goal.loss_ratio,
            exceed_ratio=goal.exceed_ratio,
            relative_width=goal.relative_width,
            initial_trial_duration=goal.initial_trial_duration_s,
            final_trial_duration=goal.final_trial_duration_s,
            duration_sum=goal.duration_sum_s,
            preceding_targets=goal.preceding_targets,
            expansion_coefficient=2,
            fail_fast=False,
        )
    except ValueError as error:
        raise ConfigInvalid(f"search goal {goal.name}: {error}") from error


def _remaining_s(ndr: Goal, pdr: Goal, adapter: _Adapter, max_search_s: float) -> float:
    """About four loads a goal are decided by full trial sets, two thirds of each; the rest is the way there."""
    expected = sum(2.7 * goal.trials_per_load + 8 for goal in (ndr, pdr))
    done = len(adapter.trials)
    each_s = adapter.elapsed_s / done if done else pdr.initial_trial_duration_s
    left = max(expected - done, 0.2 * ndr.trials_per_load)
    return min(left * each_s, max(max_search_s - adapter.elapsed_s, 0.0))


def _goal_result(
    goal: Goal,
    engine: MLRsearch.MultipleLossRatioSearch,
    library_goal: MLRsearch.SearchGoal,
    *,
    timed_out: bool,
    max_search_s: float,
) -> GoalResult:
    target = engine.scaling.goal_to_final_target[library_goal]
    found = MLRsearch.GoalResult.from_bounds(engine.database.get_relevant_bounds(target))
    lower = None if found.relevant_lower_bound is None else float(found.relevant_lower_bound)
    upper = None if found.relevant_upper_bound is None else float(found.relevant_upper_bound)
    kind, why = None, None
    if timed_out and (lower is None or upper is None or (upper - lower) / upper > goal.relative_width):
        kind = Irregularity.TIME_LIMIT
        why = f"stopped after {max_search_s:g} s, before the bounds were within {goal.relative_width:.2%}"
    elif lower is None:
        kind = Irregularity.MIN_LOAD_LOSSY
        why = (
            f"the minimum load ({engine.config.min_load:g} pps) already loses more than {goal.loss_ratio:.1%}"
        )
    elif upper is None:
        kind = Irregularity.MAX_LOAD_LOSSLESS
        why = f"the maximum load ({engine.config.max_load:g} pps) loses no more than {goal.loss_ratio:.1%}"
    throughput = None if kind else float(found.conditional_throughput)
    return GoalResult(
        goal=goal,
        regular=kind is None,
        irregularity=why,
        relevant_lower_bound_pps=lower,
        relevant_upper_bound_pps=upper,
        conditional_throughput_pps=throughput,
        kind=kind,
    )
