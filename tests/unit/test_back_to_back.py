"""Back-to-back frames: the simulated buffer is found, and RFC 9004's correction gives it back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ConfigInvalid
from labkit.lab.simulation import SimulatedSpec
from labkit.measure.back_to_back import measure_back_to_back
from labkit.measure.trial import TrialResult
from labkit.testers.simulated import SimulatedTester


@given(buffer_frames=st.integers(1, 20_000), capacity_pps=st.floats(1e5, 9e6))
@settings(max_examples=30, deadline=None)
def test_the_corrected_buffer_time_is_the_buffers(buffer_frames: int, capacity_pps: float) -> None:
    spec = SimulatedSpec(
        buffer_frames=buffer_frames, capacity_pps=capacity_pps, noise=0.0, max_offered_load_pps=10e6
    )
    tester = SimulatedTester(spec, record_rtt=False)
    found = measure_back_to_back(tester, throughput_pps=capacity_pps, repeats=3)
    # A burst of n frames overflows once n (1 - capacity / rate) exceeds the buffer.
    expected = buffer_frames / (1 - capacity_pps / 10e6)
    assert found.average_frames == pytest.approx(expected, rel=0.012, abs=12)
    assert found.corrected_buffer_time_s == pytest.approx(buffer_frames / 10e6, rel=0.02, abs=2e-6)
    assert found.implied_buffer_time_s == pytest.approx(found.average_frames / 10e6, rel=0.01)
    assert found.burst_rate_pps == pytest.approx(10e6, rel=0.01)


def test_fifty_repeats_of_a_noisy_dut_spread() -> None:
    tester = SimulatedTester(SimulatedSpec(noise=0.05, capacity_pps=15e6), record_rtt=False)
    found = measure_back_to_back(tester, throughput_pps=15e6)
    assert len(found.repeats) == 50
    assert found.min_frames < found.average_frames < found.max_frames
    assert found.stdev_frames > 0
    assert found.deviations == (
        "a software link has no theoretical frame rate: the rate within the burst is used instead",
    )


def test_a_repeat_costs_a_few_bursts_only() -> None:
    tester = SimulatedTester(SimulatedSpec(noise=0.0), record_rtt=False)
    measure_back_to_back(tester, throughput_pps=1e6, repeats=50)
    assert tester.trials / 50 < 8


def test_a_dut_faster_than_the_tester_is_at_least_the_longest_burst() -> None:
    tester = SimulatedTester(SimulatedSpec(capacity_pps=50e6, max_offered_load_pps=1e6), record_rtt=False)
    found = measure_back_to_back(tester, throughput_pps=1e6, repeats=2, max_burst_s=0.1)
    assert found.max_frames == pytest.approx(0.1 * 1e6, rel=0.002)
    assert found.corrected_buffer_time_s is None
    text = " ".join(found.deviations)
    assert "at least that many" in text
    assert "2 repeats" in text
    assert "0.1 s" in text


def test_a_path_that_returns_nothing_has_no_burst() -> None:
    class Dead(SimulatedTester):
        def measure_burst(self, count: int) -> TrialResult:
            return TrialResult(
                intended_load_pps=None,
                duration_s=count / 1e6,
                intended=count,
                sent=count,
                received=0,
                tx_duration_s=count / 1e6,
            )

    found = measure_back_to_back(Dead(SimulatedSpec()), throughput_pps=None, repeats=2)
    assert found.repeats == (0, 0)
    assert found.implied_buffer_time_s == 0.0


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="repeats"):
        measure_back_to_back(SimulatedTester(SimulatedSpec()), throughput_pps=None, repeats=0)
