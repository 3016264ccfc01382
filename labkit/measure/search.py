"""NDR and PDR in one search (MLRsearch, RFC 9971)."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.measure.trial import TrialResult


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Both goals of one search, and every trial of it."""

    ndr: GoalResult
    pdr: GoalResult
    min_load_pps: float
    max_load_pps: float
    trials: tuple[TrialResult, ...]
    duration_s: float
