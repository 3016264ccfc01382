"""Times of the host itself: nothing that a tool counted gets lost, and nothing is made better than it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import LabkitBug
from labkit.measure.histogram import counts_us, decode
from labkit.measure.hosttimes import (
    HostTimes,
    beyond_gate,
    core_times,
    guest_gate,
    omitted_gate,
    switches_gate,
)
from labkit.measure.noise import DEFAULT_LIMITS


def core(bins_us: dict[int, int], *, beyond: int = 0, max_us: int | None = None, **more):
    counted = sum(bins_us.values()) + beyond
    return core_times(
        core=more.pop("core", 1),
        counted=counted,
        bins_us=bins_us,
        max_us=max(bins_us) if max_us is None else max_us,
        min_us=min(bins_us, default=0),
        mean_us=1.0,
        **more,
    )


@given(
    bins_us=st.dictionaries(st.integers(0, 5_000), st.integers(1, 10_000), min_size=1, max_size=30),
    beyond=st.integers(0, 50),
    far_us=st.integers(5_000, 900_000),
)
@settings(max_examples=100, deadline=None)
def test_every_count_is_in_the_histogram_and_the_maximum_is_the_tools(bins_us, beyond, far_us) -> None:
    max_us = far_us if beyond else max(bins_us)
    found = core(bins_us, beyond=beyond, max_us=max_us)
    assert found.counted == found.times.n == sum(bins_us.values()) + beyond
    assert found.beyond == beyond
    assert found.omitted == 0
    assert found.max_us == max_us
    assert found.times.max_ns == max(max_us * 1000, 1)
    assert decode(found.times).get_total_count() == found.counted
    # No percentile is below what half, or all but one in a hundred, of the values were.
    values = sorted([us for us, n in bins_us.items() for _ in range(n)] + [max_us] * beyond)
    for percentile, us in ((50, found.p50_us), (99, found.p99_us)):
        if us is not None:
            assert us >= values[max(len(values) * percentile // 100 - 1, 0)]
            assert us <= max_us


def test_counts_without_a_value_count_as_the_maximum() -> None:
    found = core({5: 995}, beyond=15, max_us=777)
    assert found.p50_us == 5
    assert found.p99_us == 777
    assert found.max_us == 777


def test_a_percentile_with_too_few_samples_is_not_quoted() -> None:
    assert core({5: 9_999}).p999_us is None
    assert core({5: 10_000}).p999_us == 5
    assert core({5: 10_000}).p9999_us is None


def test_whole_microseconds_go_in_and_come_out() -> None:
    found = core({13: 10_000, 2_500: 1})
    assert (found.p50_us, found.p999_us, found.max_us) == (13, 13, 2_500)


def test_wakeups_that_a_late_one_omitted_are_counted_with_their_wait() -> None:
    """A thread that slept through nine wake-ups was late for each of them, not only for the first."""
    found = core({5: 1_970, 10_000: 3}, interval_us=1_000)
    assert found.omitted == 27
    assert found.times.n == 2_000
    recorded = counts_us(found.times)
    assert [us for us, _ in recorded] == pytest.approx([5, *range(1_000, 10_001, 1_000)], rel=1e-3)
    assert [n for _, n in recorded] == [1_970, *[3] * 10]
    assert found.p99_us == pytest.approx(4_000, rel=1e-3)
    assert core({5: 1_970, 10_000: 3}).p99_us == 5  # without them it would look as if it had been on time
    assert found.max_us == 10_000


def test_a_wakeup_within_its_interval_omits_none() -> None:
    assert core({5: 990, 999: 1, 1_000: 1}, interval_us=1_000).omitted == 0


def test_those_beyond_have_omitted_at_least_what_the_histogram_reaches() -> None:
    found = core({5: 1_000}, beyond=3, max_us=50_000, interval_us=10_000, reach_us=30_000)
    assert found.omitted == 4 + 2 * 2
    assert found.times.n == 1_011


def test_what_surely_was_is_kept_apart_from_what_was_omitted_and_from_what_lies_beyond() -> None:
    assert core({5: 1_000}).at_least is None
    assert core({5: 1_000}, beyond=1, max_us=50).at_least is None  # its one value beyond is known
    late = core({5: 1_000, 10_000: 3}, interval_us=1_000).at_least
    assert late is not None
    assert [n for _, n in counts_us(late)] == [1_000, 3]
    far = core({5: 1_000}, beyond=3, max_us=50_000, reach_us=30_000).at_least
    assert far is not None
    assert [us for us, _ in counts_us(far)] == pytest.approx([5, 30_000, 50_000], rel=1e-3)
    assert [n for _, n in counts_us(far)] == [1_000, 2, 1]


def test_a_histogram_that_holds_more_than_was_counted_is_a_bug() -> None:
    with pytest.raises(LabkitBug, match="3 counted, 5 in the histogram"):
        core_times(core=0, counted=3, bins_us={1: 5}, max_us=1, min_us=1, mean_us=1.0)


def test_the_slowest_core_speaks_for_the_host() -> None:
    fast, slow = core({5: 10_000}, core=0), core({5: 9_000, 40: 1_000}, core=2)
    times = HostTimes(duration_s=1.0, interval_us=500.0, resolution_us=1.0, cores=(fast, slow))
    worst = times.worst("p99_us")
    assert worst is not None
    assert worst.core == 2
    few = HostTimes(duration_s=1.0, interval_us=500.0, resolution_us=1.0, cores=(slow, core({5: 10}, core=3)))
    assert few.worst("p99_us") is None  # a core of which nothing can be said is not passed over


def test_gates_warn_of_what_the_figures_alone_do_not_say() -> None:
    clean, odd = core({5: 100}), core({5: 100}, beyond=2, max_us=90_000, interval_us=10_000)
    assert beyond_gate((clean,)).state == omitted_gate((clean,)).state == "ok"
    assert (beyond_gate((clean, odd)).state, beyond_gate((clean, odd)).value) == ("warn", "2 of 202")
    assert omitted_gate((clean, odd)).value == "8 in addition to 202 that took place"
    assert [guest_gate(guest).state for guest in (True, False, None)] == ["warn", "ok", "ok"]
    assert switches_gate(5, duration_s=10.0, limits=DEFAULT_LIMITS).state == "ok"
    assert switches_gate(11, duration_s=10.0, limits=DEFAULT_LIMITS).state == "warn"
