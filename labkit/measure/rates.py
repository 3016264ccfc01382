"""MRR and the frame loss curve."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.measure.trial import TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Mrr:
    """Maximum receive rate (FD.io CSIT): loss ignored, several trials at the maximum load."""

    trials: tuple[TrialResult, ...]
    median_pps: float
    min_pps: float
    max_pps: float
    ci95_low_pps: float
    ci95_high_pps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """Loss at one load."""

    percent_of_max: float
    trial: TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurve:
    """Frame loss rate (RFC 2544 26.3): from 100 % of `max_load_pps` down."""

    max_load_pps: float
    points: tuple[LossPoint, ...]
    deviations: tuple[str, ...]
    """Where it departs from the RFC (shorter trials, fewer steps)."""
