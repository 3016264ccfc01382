"""Latency: percentiles agree with the raw values, too few samples give none, histograms merge."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import LabkitBug
from labkit.lab.simulation import SimulatedSpec
from labkit.measure.histogram import curve, merge, percentiles_us, record, samples_needed
from labkit.measure.latency import (
    DEFAULT_LOADS,
    duration_for,
    latency_point,
    load_rates,
    measure_latency,
    merge_trials,
)
from labkit.measure.trial import TrialResult
from labkit.testers.simulated import SimulatedTester
from labkit.units import Load

values = st.lists(st.integers(1, 10**10), min_size=1, max_size=200)


@given(values=values)
@settings(max_examples=50, deadline=None)
def test_percentiles_agree_with_the_sorted_values_to_three_digits(values: list[int]) -> None:
    many = [v for v in values for _ in range(50)]
    histogram = record(Counter(many))
    ordered = sorted(many)
    for percentile, value_us in percentiles_us(histogram, (50, 90)).items():
        if value_us is not None:
            # The package rounds the rank; both neighbours of a rank on an edge are right.
            rank = max(int(len(many) * percentile / 100 + 0.5), 1)
            assert value_us * 1e3 == pytest.approx(ordered[rank - 1], rel=1.01e-3, abs=1)
    assert (histogram.min_ns, histogram.max_ns, histogram.n) == (ordered[0], ordered[-1], len(many))


@given(parts=st.lists(values, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_merging_equals_recording_all_values_in_one(parts: list[list[int]]) -> None:
    merged = merge([record(Counter(part)) for part in parts])
    whole = record(Counter(v for part in parts for v in part))
    assert (merged.n, merged.min_ns, merged.max_ns) == (whole.n, whole.min_ns, whole.max_ns)
    assert merged.mean_ns == pytest.approx(whole.mean_ns)
    assert percentiles_us(merged, (50,)) == percentiles_us(whole, (50,))


def test_merging_is_not_averaging() -> None:
    fast = record({1_000: 990, 2_000: 10})
    slow = record({100_000: 1000})
    assert percentiles_us(merge([fast, slow]), (90,))[90] == pytest.approx(100, rel=1e-3)


def test_values_beyond_ten_seconds_are_counted_as_overflow() -> None:
    histogram = record({20_000_000_000: 3, 5: 1})
    assert (histogram.overflow, histogram.max_ns, histogram.n) == (3, 10_000_000_000, 4)


def test_a_histogram_that_does_not_hold_what_it_says_is_a_bug() -> None:
    broken = dataclasses.replace(record({5: 10}), n=11)
    with pytest.raises(LabkitBug, match="11"):
        percentiles_us(broken, (50,))


@pytest.mark.parametrize(
    ("percentile", "needed"), [(50, 20), (90, 100), (99, 1000), (99.9, 10_000), (99.99, 100_000)]
)
def test_a_percentile_needs_ten_samples_beyond_it(percentile: float, needed: int) -> None:
    assert samples_needed(percentile) == needed
    for n, known in ((needed - 1, False), (needed, True)):
        assert (percentiles_us(record({1000: n}), (percentile,))[percentile] is not None) is known


def test_the_curve_rises_to_the_maximum_and_ends_where_samples_do() -> None:
    draw = random.Random(1)
    histogram = record(Counter(int(draw.expovariate(1e-4)) + 1 for _ in range(20_000)))
    points = curve(histogram)
    assert points == sorted(points)
    assert points[-1] == (100.0, histogram.max_ns / 1e3)
    assert 99.9 < points[-2][0] < 99.96


def trial(
    spec: SimulatedSpec | None = None, *, load_pps: float = 1e5, duration_s: float = 0.2
) -> TrialResult:
    return SimulatedTester(spec or SimulatedSpec()).measure(load_pps=load_pps, duration_s=duration_s)


def test_a_point_has_pdv_and_no_percentile_beyond_its_samples() -> None:
    point = latency_point(trial(), load="100 kpps")
    assert point is not None
    assert point.n == 20_000
    assert point.p999_us is not None
    assert point.p9999_us is None
    assert point.pdv_us == pytest.approx(point.p999_us - point.min_us)
    assert point.p90_us is not None
    assert point.p99_us is not None
    assert point.min_us <= point.p50_us <= point.p90_us <= point.p99_us <= point.p999_us <= point.max_us


def test_a_trial_that_returned_nothing_has_no_point() -> None:
    silent = dataclasses.replace(trial(), rtt=None)
    assert latency_point(silent, load="idle") is None


def test_merged_trials_add_counts_and_gain_percentiles() -> None:
    tester = SimulatedTester(SimulatedSpec())
    made = [tester.measure(load_pps=1e5, duration_s=0.2) for _ in range(5)]
    merged = merge_trials(made)
    assert merged.sent == sum(t.sent for t in made)
    assert merged.duration_s == pytest.approx(1.0)
    assert merged.offered_pps == pytest.approx(1e5)
    point = latency_point(merged, load="100 kpps")
    assert point is not None
    assert point.p9999_us is not None
    assert point.n == 100_000


def test_trials_of_unlike_loads_do_not_merge() -> None:
    with pytest.raises(LabkitBug, match="cannot merge"):
        merge_trials([trial(), trial(load_pps=2e5)])


def test_the_ladder_is_idle_and_shares_of_pdr_each_long_enough_for_p999() -> None:
    tester = SimulatedTester(SimulatedSpec())
    ladder = measure_latency(tester, pdr_pps=1e6)
    assert [p.load for p in ladder.points] == ["idle", "10% PDR", "50% PDR", "90% PDR"]
    assert [p.load_pps for p in ladder.points] == [9000, 1e5, 5e5, 9e5]
    assert all(p.p999_us is not None for p in ladder.points)
    assert ladder.points[-1].p50_us > ladder.points[0].p50_us
    assert tester.clock() < 4
    assert any("120 s" in d for d in ladder.deviations)


def test_without_a_pdr_there_is_only_idle() -> None:
    assert list(load_rates(DEFAULT_LOADS, {})) == ["idle"]
    assert load_rates([Load("10% MRR", share=0.1, of="MRR")], {"MRR": 0.0}) == {}  # nothing to send
    assert (
        load_rates(DEFAULT_LOADS, {"PDR": 20_000})["idle"] == 1000
    )  # idle stays far below what the DUT can do


def test_a_load_of_ones_own_takes_several_merged_trials() -> None:
    ladder = measure_latency(
        SimulatedTester(SimulatedSpec()), pdr_pps=None, ladder={"50 kpps": 5e4}, trials=4
    )
    (point,) = ladder.points
    assert point.load == "50 kpps"
    assert point.n == pytest.approx(25_000, rel=0.01)


def test_a_silent_load_is_named_and_left_out() -> None:
    ladder = measure_latency(
        SimulatedTester(SimulatedSpec(), record_rtt=False),
        pdr_pps=None,
        ladder={"idle": 1e4},
    )
    assert ladder.points == ()
    assert "nothing came back" in ladder.deviations[0]


def test_the_duration_follows_from_the_load() -> None:
    assert duration_for(1000) == pytest.approx(11.0)
    assert duration_for(1e6) == 0.5
    assert duration_for(1e6, percentile=99.99, min_duration_s=0.01) == pytest.approx(0.11)
