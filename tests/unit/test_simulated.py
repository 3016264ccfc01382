"""The simulated DUT does what its spec says, exactly, and again with the same seed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ConfigInvalid, ToolFailed
from labkit.lab.simulation import SimulatedSpec
from labkit.measure.histogram import decode, percentiles_us
from labkit.testers.simulated import SimulatedTester


def measure(load_pps: float | None = 2e6, duration_s: float = 0.1, **spec: object):
    return SimulatedTester(SimulatedSpec(**spec)).measure(load_pps=load_pps, duration_s=duration_s)  # type: ignore[arg-type]


def test_capacity_and_buffer_are_what_comes_back() -> None:
    trial = measure(noise=0.0, capacity_pps=1e6, buffer_frames=300)
    assert trial.received == 100_000 + 300
    assert trial.unsent == 0


def test_beyond_the_maximum_offered_load_frames_are_unsent() -> None:
    trial = measure(load_pps=3e6, max_offered_load_pps=2e6, capacity_pps=10e6)
    assert trial.unsent == 100_000
    assert trial.lost == 0
    assert measure(load_pps=None, max_offered_load_pps=2e6).intended == 200_000


def test_drops_duplicates_and_reordering_are_exact() -> None:
    trial = measure(load_pps=1e5, drop_one_in=100, duplicate_one_in=50, reorder_one_in=10, noise=0.0)
    assert trial.lost == 100
    assert trial.duplicates == 9900 // 50
    assert trial.reordered == 990


def test_the_share_of_lossy_trials_is_the_specs() -> None:
    tester = SimulatedTester(SimulatedSpec(lossy_trials=0.3, lossy_frames=4), record_rtt=False)
    lost = [tester.measure(load_pps=1e5, duration_s=0.1).lost for _ in range(2000)]
    assert sum(n > 0 for n in lost) / 2000 == pytest.approx(0.3, abs=0.04)
    assert set(lost) == {0, 1, 2, 3, 4}


def test_the_same_seed_gives_the_same_trials_and_another_seed_others() -> None:
    def run(seed: int) -> list[object]:
        tester = SimulatedTester(SimulatedSpec(noise=0.05, seed=seed))
        return [tester.measure(load_pps=1.1e6, duration_s=0.1) for _ in range(5)]

    assert run(4) == run(4)
    assert run(4) != run(5)


def test_time_is_virtual() -> None:
    tester = SimulatedTester(SimulatedSpec(overhead_s=0.05))
    began = time.monotonic()
    tester.measure(load_pps=1e5, duration_s=60.0)
    assert tester.clock() == pytest.approx(60.05)
    assert time.monotonic() - began < 1.0


def test_the_dut_dies_after_the_trials_that_were_set() -> None:
    tester = SimulatedTester(SimulatedSpec(dies_after_trials=2))
    tester.measure(load_pps=1e5, duration_s=0.1)
    tester.measure_burst(10)
    with pytest.raises(ToolFailed, match="trial 3"):
        tester.measure(load_pps=1e5, duration_s=0.1)


@given(load_pps=st.floats(1e3, 5e6), duration_s=st.floats(0.01, 1.0), lossy=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_every_returned_frame_has_one_round_trip_in_a_real_histogram(
    load_pps: float, duration_s: float, lossy: float
) -> None:
    trial = measure(load_pps=load_pps, duration_s=duration_s, lossy_trials=lossy)
    if trial.received == 0:
        assert trial.rtt is None
        return
    assert trial.rtt is not None
    assert trial.rtt.n == trial.received == decode(trial.rtt).get_total_count()


def test_latency_rises_towards_capacity_and_is_bounded_by_the_buffer() -> None:
    medians = []
    for load in (1e4, 5e5, 9.9e5, 2e6):
        trial = measure(load_pps=load, noise=0.0, duration_s=0.2, buffer_frames=1000)
        assert trial.rtt is not None
        medians.append(percentiles_us(trial.rtt, (50,))[50])
    assert medians == sorted(medians)
    assert medians[0] == pytest.approx(10, rel=0.05)
    assert medians[-1] == pytest.approx(10 + 1000 * 0.69, rel=0.1)
    idle = measure(load_pps=1e5, duration_s=1.0, tail_latency_s=50e-6)
    assert idle.rtt is not None
    tail = percentiles_us(idle.rtt, (90, 99.9))
    assert tail[99.9] > 5 * tail[90]


def test_the_true_answer_is_the_load_that_half_the_trials_pass() -> None:
    spec = SimulatedSpec(noise=0.03, lossy_trials=0.3, seed=9)
    for loss_ratio in (0.0, 0.005):
        truth_pps = spec.highest_load_pps(loss_ratio=loss_ratio, duration_s=0.1)
        tester = SimulatedTester(spec, record_rtt=False)
        good = sum(
            tester.measure(load_pps=truth_pps, duration_s=0.1).loss_ratio <= loss_ratio for _ in range(3000)
        )
        assert good / 3000 == pytest.approx(0.5, abs=0.03)
    assert SimulatedSpec(lossy_trials=0.6).highest_load_pps(loss_ratio=0.0, duration_s=1.0) == 0.0


def test_a_spec_is_read_with_units() -> None:
    spec = SimulatedSpec.parse(
        {
            "capacity": "2 Mpps",
            "noise": "3 %",
            "lossy_trials": 0.1,
            "base_latency": "50 us",
            "buffer_frames": 512,
            "max_offered_load": "5 Mpps",
            "dies_after_trials": "10",
            "overhead": "20 ms",
        }
    )
    assert spec == SimulatedSpec(
        capacity_pps=2e6,
        noise=0.03,
        lossy_trials=0.1,
        base_latency_s=50e-6,
        buffer_frames=512,
        max_offered_load_pps=5e6,
        dies_after_trials=10,
        overhead_s=0.02,
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"capasity": "1 Mpps"}, "unknown key 'capasity'.*capacity"),
        ({"capacity": "1 us"}, "capacity: .*Mpps"),
        ({"capacity": "0 pps"}, "capacity: out of range"),
        ({"noise": "60 %"}, "noise: out of range"),
        ({"buffer_frames": "many"}, "buffer_frames: expected a whole number"),
        ({"buffer_frames": "٤"}, "buffer_frames: expected a whole number"),
        ({"buffer_frames": True}, "buffer_frames: expected a whole number"),
        ({"drop_one_in": 1}, "drop_one_in: out of range"),
    ],
)
def test_a_wrong_spec_is_refused_by_name(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        SimulatedSpec.parse(mapping)
