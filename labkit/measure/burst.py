"""Back-to-back frames (RFC 2544 26.4 as updated by RFC 9004)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackToBack:
    """Longest burst at the tester's full rate that came back whole, over several repeats."""

    average_frames: float
    min_frames: int
    max_frames: int
    stdev_frames: float
    repeats: tuple[int, ...]
    burst_rate_pps: float
    """Rate within the burst, as departed [pps]."""
    implied_buffer_time_s: float
    corrected_buffer_time_s: float | None
    """RFC 9004; None where the measured throughput is not below the burst rate."""
    deviations: tuple[str, ...]
