"""A path that was silent under overload is given time before it counts as dead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.errors import ToolFailed
from labkit.lab.simulation import SimulatedSpec
from labkit.measure.trial import TrialResult
from labkit.progress import Silent
from labkit.session import livelock
from labkit.session.on_testbed import Notes
from labkit.session.testbed import SimulatedTestbed


class Recovering(SimulatedTestbed):
    """Forwards nothing until so much time [s] has passed."""

    def __init__(self, after_s: float) -> None:
        super().__init__(SimulatedSpec())
        self._after_s = after_s

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        silent = self.clock() < self._after_s
        trial = super().measure(load_pps=load_pps, duration_s=duration_s)
        return replace(trial, received=0, late=0, rtt=None) if silent else trial


def describe(testbed: SimulatedTestbed) -> str:
    notes = Notes(progress=Silent())
    return livelock.describe(testbed, notes, of="xdp-nic-64", silent=3, trials=6, duration_s=0.1)


def test_a_path_that_answers_at_once_costs_no_pause() -> None:
    testbed = Recovering(0)
    assert "receive livelock" in describe(testbed)
    assert testbed.clock() < 0.5


def test_a_path_gets_the_five_seconds_of_rfc_2544_to_recover() -> None:
    testbed = Recovering(5.5)
    assert "3 of 6 trials at full rate, but 9000 of 9000 frames did at 9000 pps" in describe(testbed)


def test_a_path_that_stays_silent_has_failed() -> None:
    with pytest.raises(
        ToolFailed, match=r"xdp-nic-64: nothing came back in 3 of 6 trials .* nor at 9000 pps, 6 s later"
    ):
        describe(Recovering(60))
