"""Tells a path that forwards nothing under overload from one that forwards nothing at all."""

from __future__ import annotations

from labkit.errors import ToolFailed
from labkit.measure.latency import IDLE_LOAD_PPS
from labkit.session.on_testbed import Notes, RoundTripsOnly
from labkit.session.testbed import Testbed

PAUSES_S = (0.0, 1.0, 5.0)
"""Before each trial at a low load: the path may still be busy with the overload before. RFC 2544 (23 e) gives a DUT
five seconds to restabilize."""
LAST_TRIAL_AT_LEAST_S = 1.0
"""A slow path may answer for the first time when a shorter trial is over."""


def describe(testbed: Testbed, notes: Notes, *, of: str, silent: int, trials: int, duration_s: float) -> str:
    """Describe a path that was silent in some trials at full rate.

    Tries it at a low load, and gives it time in between. Raises ToolFailed where it is silent there as well.
    """
    said = f"nothing came back in {silent} of {trials} trials at full rate"
    for pause_s in PAUSES_S:
        if pause_s:
            notes.progress.update(f"{said}; waiting {pause_s:g} s for the path to recover")
            testbed.pause(pause_s)
        last = pause_s == PAUSES_S[-1]
        low = RoundTripsOnly(testbed).measure(
            load_pps=IDLE_LOAD_PPS, duration_s=max(duration_s, LAST_TRIAL_AT_LEAST_S) if last else duration_s
        )
        notes.count(low)
        if low.received:
            return (
                f"{said}, but {low.received} of {low.sent} frames did at {IDLE_LOAD_PPS:.0f} pps: under overload this "
                "path forwards nothing (receive livelock, or another program on its core)"
            )
    raise ToolFailed(f"{of}: {said}, nor at {IDLE_LOAD_PPS:.0f} pps, {sum(PAUSES_S):g} s later")
