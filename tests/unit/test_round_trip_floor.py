"""A tester's own round trips beside a result: stated, and marked where the machine was busy meanwhile."""

from __future__ import annotations

import pytest
from sample_run import histogram, sample_run

from labkit.measure.gate import Gate
from labkit.measure.limits import MaxOfferedLoad
from labkit.session.frame import Measured
from labkit.session.on_testbed import with_limit

STEAL = Gate(name="steal", state="invalid", value="2.73% on CPU 0", limit="", why="")


@pytest.mark.parametrize("disturbed", [(), (STEAL,)])
def test_own_round_trips_are_stated_and_marked_where_they_were_disturbed(disturbed: tuple[Gate, ...]) -> None:
    known = sample_run().measurements[0]
    measured = Measured(
        payload={},
        tester={"engine": "trex"},
        proof=known.proof,
        gates=(),
        limited_by="dut",
        deviations=(),
        bases=(),
    )
    load = MaxOfferedLoad(pps=331e3, floor=histogram(1, 480.0, 0.6), floor_disturbed=disturbed)
    found = with_limit(measured, None, load)
    assert found.tester["rtt_floor_us"]["p50"] == pytest.approx(480, rel=0.2)  # type: ignore[index]
    assert found.tester.get("rtt_floor_disturbed", "") == ("steal was 2.73% on CPU 0" if disturbed else "")
    assert ("they may be too long" in found.deviations[0]) == bool(disturbed)
