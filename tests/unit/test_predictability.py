"""Is one datapath more predictable than another? Right of DUTs of known spread, and undecided where they are equal."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from labkit.errors import ConfigInvalid
from labkit.lab.simulation import SimulatedSpec
from labkit.lab.topology_file import parse
from labkit.measure.latency import PREDICTABILITY_LOADS, LatencyPoint, measure_latency
from labkit.measure.predictability import (
    FEWEST_ROUNDS,
    Predictability,
    Spread,
    compare,
    interval,
    longest_above_us,
    pdv_us,
    tail_ratio,
    together_us,
)
from labkit.progress import Silent
from labkit.record.model import Measurement
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.neighbour import others, wanted
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.targets.time_readers import longest_above, variation
from labkit.testers.frames import frame_spec
from labkit.testers.simulated import SimulatedTester

LOAD_PPS = 100_000.0
CASES = 100
RUNS = 400
"""Of a DUT, of which each case takes some."""


@cache
def runs(tail_s: float, first_seed: int) -> tuple[LatencyPoint, ...]:
    """Of a simulated DUT, whose tail is another one in each run, by a tenth."""
    found: list[LatencyPoint] = []
    for seed in range(first_seed, first_seed + RUNS):
        this_s = max(tail_s * random.Random(seed).gauss(1.0, 0.1), 0.0)
        tester = SimulatedTester(SimulatedSpec(tail_latency_s=this_s, seed=seed))
        ladder = {"50% PDR": LOAD_PPS}
        found += measure_latency(tester, pdr_pps=None, ladder=ladder, min_duration_s=0.1).points
    return tuple(found)


def answers(own_tail_s: float, other_tail_s: float, *, rounds: int) -> dict[str, int]:
    """How often each answer was given."""
    found = dict.fromkeys(("yes", "no", "undecided"), 0)
    draw = random.Random(rounds)
    for _ in range(CASES):
        own = draw.sample(runs(own_tail_s, 0), rounds)
        other = draw.sample(runs(other_tail_s, RUNS), rounds)
        one = compare(
            Spread(load="50% PDR", load_pps=LOAD_PPS, own=tuple(own), reference=tuple(other)), pdv_us
        )
        assert one is not None
        found[one.answer] += 1
    return found


@pytest.mark.parametrize("rounds", [FEWEST_ROUNDS, 12])
def test_the_answer_is_right_where_the_spreads_differ(rounds: int) -> None:
    assert answers(20e-6, 40e-6, rounds=rounds)["yes"] >= 95
    assert answers(40e-6, 20e-6, rounds=rounds)["no"] >= 95


@pytest.mark.parametrize("rounds", [FEWEST_ROUNDS, 12])
def test_it_is_undecided_where_they_are_equal(rounds: int) -> None:
    assert answers(20e-6, 20e-6, rounds=rounds)["undecided"] >= 95


def test_a_difference_below_the_noise_is_never_taken_for_the_contrary() -> None:
    found = answers(20e-6, 20.4e-6, rounds=12)
    assert found["no"] <= 5


def some(*pdvs: float | None) -> tuple[LatencyPoint, ...]:
    made = runs(20e-6, 0)[0]
    return tuple(replace(made, pdv_us=pdv, p999_us=pdv, p50_us=1.0) for pdv in pdvs)


def spread(own: tuple[LatencyPoint, ...], reference: tuple[LatencyPoint, ...]) -> Spread:
    return Spread(load="idle", load_pps=9000.0, own=own, reference=reference)


def test_too_few_rounds_decide_nothing() -> None:
    one = compare(spread(some(1, 1, 1), some(9, 9, 9)), pdv_us)
    assert one is not None
    assert one.answer == "undecided"


def test_a_round_with_too_few_samples_gives_no_answer() -> None:
    assert compare(spread(some(*[1] * 5, None), some(*[9] * 6)), pdv_us) is None
    assert interval(some(1, None), pdv_us) is None
    assert compare(spread(some(*[1] * 6), ()), pdv_us) is None


def test_a_datapath_that_loses_its_slow_frames_gets_no_answer() -> None:
    (point,) = some(1.0)
    lossy = replace(point, trial=replace(point.trial, received=round(0.99 * point.trial.sent), late=0))
    assert pdv_us(point) == 1.0
    assert pdv_us(lossy) is None
    assert compare(spread((lossy,) * 6, some(*[9] * 6)), pdv_us) is None


def test_the_interval_is_that_of_the_median_by_order_statistics() -> None:
    assert interval(some(*range(1, 13)), pdv_us) == (2, 6.5, 11)


def test_a_tail_is_compared_with_the_usual_round_trip() -> None:
    (point,) = some(40.0)
    assert tail_ratio(replace(point, p50_us=8.0)) == 5.0
    assert tail_ratio(replace(point, p50_us=8.0, pdv_us=None)) is None


def test_a_rare_percentile_is_that_of_all_rounds_together() -> None:
    one = runs(20e-6, 0)[:1]
    many = runs(20e-6, 0)[:12]
    assert together_us(one, 99.99) is None, "too few samples in one round"
    known = [us for us in (together_us(many[:n], 99.99) for n in (10, 12)) if us is not None]
    assert known
    assert all(together_us(many, 99.9) < us <= max(point.max_us for point in many) for us in known)
    lossy = tuple(
        replace(point, trial=replace(point.trial, sent=point.trial.sent + 3, intended=point.trial.sent + 3))
        for point in many
    )
    assert together_us(lossy, 99.99) is None, "more are lost than lie beyond it"
    assert together_us(lossy, 99.9) is not None


def test_how_long_it_was_above_the_limit_is_a_time() -> None:
    (point,) = some(40.0)
    assert longest_above_us(point) is None
    slow = replace(point, load_pps=10_000.0, trial=replace(point.trial, longest_above=3))
    assert longest_above_us(slow) == pytest.approx(300.0)


def of_limit(*runs_above: int | None) -> Measurement:
    """A measurement of which each round has so many frames in a row above the limit."""
    points = tuple(
        replace(point, load_pps=10_000.0, trial=replace(point.trial, longest_above=frames))
        for point, frames in zip(some(*(1.0 for _ in runs_above)), runs_above, strict=True)
    )
    found = Predictability(
        against="", spreads=(spread(points, ()),), rounds=len(points), disturbed=0, limit_us=50.0
    )
    return cast("Measurement", SimpleNamespace(predictability=found))


def test_a_target_bounds_the_longest_time_above_the_limit() -> None:
    worst = longest_above(of_limit(0, 4, 2), None, None)
    assert worst.high == pytest.approx(400e-6)
    assert "4 frames above 50 us in a row" in worst.note
    assert "does not count" in longest_above(of_limit(0, None), None, None).reason
    assert "no spread at 10% PDR; measured: idle" in longest_above(of_limit(0), "10% PDR", None).reason


@pytest.mark.parametrize(
    ("stressors", "cores", "argv"),
    [
        ("stream", None, "taskset --cpu-list 2,3 stress-ng --quiet --stream 2"),
        ("cache, switch", "0", "taskset --cpu-list 2,3 stress-ng --quiet --cache 2 --switch 2"),
    ],
)
def test_a_neighbour_runs_each_stressor_on_each_core(stressors: str, cores: str | None, argv: str) -> None:
    assert " ".join(wanted(stressors, cores).argv([2, 3])) == argv


@pytest.mark.parametrize(
    ("stressors", "cores", "says"),
    [
        ("--stream", None, "stressors, such as stream"),
        ("", None, "stressors, such as stream"),
        ("stream; reboot", None, "stressors, such as stream"),
        ("stream", "three", "expected a core or a range"),
        ("stream", "", "expected a list of cores"),
    ],
)
def test_a_neighbour_that_is_none_is_refused(stressors: str, cores: str | None, says: str) -> None:
    with pytest.raises(ConfigInvalid, match=says):
        wanted(stressors, cores)


def test_a_neighbour_shares_no_physical_core_with_what_is_measured() -> None:
    assert others({0, 1, 2, 3, 4, 5}, {1: {1, 4}, 2: {2, 5}}) == [0, 3]
    assert others({0, 1}, {0: {0}, 1: {1}}) == []


SIMULATED = """
description: datapaths of known spread
tier: simulated
backends: [kernel, xdp, af_xdp]
simulation:
  kernel: {capacity: 1 Mpps, tail_latency: 30 us}
  xdp: {capacity: 2 Mpps, tail_latency: 10 us, seed: 2}
  af_xdp: {capacity: 2 Mpps, tail_latency: 60 us, seed: 3}
"""


def test_a_session_measures_both_at_the_same_loads_in_rounds() -> None:
    topology = parse(SIMULATED, Path("spread.yml"))
    kernel, xdp, af_xdp = enumerate_datapaths([topology])
    with Session(Settings(store=False, quick=True), progress=Silent()) as session:
        found = {}
        for datapath in (xdp, af_xdp):
            against = session.reference(datapath, frame_spec(64))
            assert against == kernel
            found[datapath.backend.name] = session.measure.predictability(
                datapath, frame_spec(64), PREDICTABILITY_LOADS, against=against
            )
        alone = session.measure.predictability(
            kernel,
            frame_spec(64),
            PREDICTABILITY_LOADS,
            against=None,
            limit_us=50.0,
            neighbour=wanted("stream", None),
        )
        assert session.reference(kernel, frame_spec(64)) is None
        pdr_pps = session.measure.throughput(kernel, frame_spec(64)).throughput.pdr.conditional_throughput_pps
    for measurement in found.values():
        spreads = measurement.predictability.spreads
        assert measurement.predictability.against == "kernel-spread-64"
        assert [len(one.own) for one in spreads] == [len(one.reference) for one in spreads] == [6, 6, 6]
        assert spreads[-1].load_pps == pytest.approx(0.5 * pdr_pps)
        assert len({point.pdv_us for one in spreads for point in one.own}) > len(spreads), (
            "each round has its own chance"
        )
    answers = {name: compare(m.predictability.spreads[0], pdv_us).answer for name, m in found.items()}
    assert answers == {"xdp": "yes", "af_xdp": "no"}
    assert alone.predictability.spreads[0].reference == ()
    assert alone.predictability.limit_us == 50.0
    assert [one.load for one in alone.predictability.spreads] == ["idle", "10% PDR", "50% PDR"]
    assert "nothing was measured beside stress-ng stream: the DUT is simulated" in alone.deviations
    observed = variation(alone, "idle", None)
    assert observed.low <= observed.quoted <= observed.high
