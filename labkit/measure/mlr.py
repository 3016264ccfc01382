"""The MLRsearch package behind a few calls; its terms stay in here.

It must not know of time or progress: who runs it may end it by raising through it, and read the bounds so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import MLRsearch

from labkit.errors import ConfigInvalid
from labkit.measure.goals import Goal
from labkit.measure.trial import TrialResult

_NEVER_S = 1e9
"""The package's time limit reads the wall clock, which says nothing of a search in virtual time."""

Measure = Callable[[float, float], TrialResult]
"""Runs a trial of a load [pps] and a duration [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Relevant bounds of a goal so far, and the conditional throughput at the lower one [pps]."""

    lower_pps: float | None
    upper_pps: float | None
    conditional_throughput_pps: float | None


class Engine:
    """One search for several goals."""

    def __init__(self, goals: Sequence[Goal], *, min_load_pps: float, max_load_pps: float) -> None:
        self._goals = {goal: _translated(goal) for goal in goals}
        config = MLRsearch.Config()
        config.goals = list(dict.fromkeys(self._goals.values()))
        # Each setter compares with the other limit as it stands.
        config.min_load = min(config.min_load, min_load_pps)
        config.max_load = max_load_pps
        config.min_load = min_load_pps
        config.search_duration_max = _NEVER_S
        config.warmup_duration = max(goal.initial_trial_duration_s for goal in goals)
        self._search = MLRsearch.MultipleLossRatioSearch(config)

    def run(self, measure: Measure) -> None:
        """Search to the end. What `measure` raises passes through."""
        self._search.search(_Measurer(measure), debug=_silent)

    def bounds(self, goal: Goal) -> Bounds:
        """Bounds of a goal: any time after the first trial has begun."""
        target = self._search.scaling.goal_to_final_target[self._goals[goal]]
        found = MLRsearch.GoalResult.from_bounds(self._search.database.get_relevant_bounds(target))
        lower, upper = found.relevant_lower_bound, found.relevant_upper_bound
        return Bounds(
            lower_pps=None if lower is None else float(lower),
            upper_pps=None if upper is None else float(upper),
            conditional_throughput_pps=None if lower is None else float(found.conditional_throughput),
        )


class _Measurer(MLRsearch.AbstractMeasurer):  # type: ignore[misc]  # the package has no types
    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def measure(self, intended_duration: float, intended_load: float) -> MLRsearch.MeasurementResult:
        trial = self._measure(intended_load, intended_duration)
        # The overhead is left out on purpose: the package would add it to the duration sum, and short trials
        # would then decide on fewer than the goal's number.
        return MLRsearch.MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            intended_count=max(trial.intended, trial.sent),
            offered_count=trial.sent,
            forwarding_count=trial.forwarded,
        )


def _silent(_text: str) -> None:
    """Take the package's debug lines, which would otherwise cost more than a trial's bookkeeping."""


def _translated(goal: Goal) -> MLRsearch.SearchGoal:
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
