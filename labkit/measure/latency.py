"""Latency at stated loads, and PDV."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.measure.trial import TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPoint:
    """Round trips at one load."""

    load: str
    """"idle", "10% PDR", "50% PDR", "90% PDR", or a rate as the user wrote it."""
    load_pps: float
    trial: TrialResult
    n: int
    min_us: float
    p50_us: float
    p90_us: float | None
    p99_us: float | None
    p999_us: float | None
    p9999_us: float | None
    max_us: float
    pdv_us: float | None
    """RFC 5481 / RFC 8219: p99.9 - min. A percentile with fewer than 10/(1-p) samples is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyLadder:
    """Latency at rising loads."""

    pdr_pps: float | None
    points: tuple[LatencyPoint, ...]
    deviations: tuple[str, ...]
