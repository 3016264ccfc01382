"""What was measured of a metric, between its conservative sides; or why nothing is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labkit.record.model import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was measured, between its conservative sides, in the base unit of the metric."""

    low: float
    """The least that it can be: what a >= bound is compared with."""
    high: float | None
    """The most that it can be: what a <= bound is compared with. None: no limit was found ("at least")."""
    quoted: float | None
    """The figure that is shown."""
    note: str = ""
    doubt: str = ""
    """Why a missed bound would say nothing about the DUT. A bound that is met is met all the same."""
    doubt_passes: bool = False
    """Whether the doubt is of that moment (the tester stood still), not of this machine (it is a virtual one)."""
    watched_s: float | None = None
    """Of a maximum: for how long it was measured. None: of anything else."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no figure, and why."""

    reason: str


Reader = Callable[[Measurement, str | None, Measurement | None], Observed | Unknown]
"""Reads a metric from a measurement, at a load (latency), relative to a baseline (ratios)."""
