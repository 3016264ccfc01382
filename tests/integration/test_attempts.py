"""Measuring again what was invalid: by validity alone, and without flattering anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from labkit.errors import ToolFailed
from labkit.lab import topology_file
from labkit.measure.gate import PASSING, Gate
from labkit.measure.limits import MaxOfferedLoad
from labkit.progress import Silent
from labkit.record.model import Measurement, Outcome, Verdict
from labkit.session import testbeds
from labkit.session.datapaths import Datapath, default_datapath
from labkit.session.plan import plan_for
from labkit.session.preflight import load_all
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.targets.evaluation import worth_another
from labkit.testers.frames import frame_spec
from labkit.units import parse_load

FRAMES = frame_spec("64")
TEST = "test_it"


def simulated(folder: Path, **spec: str) -> Datapath:
    keys = "".join(f"    {key}: {value}\n" for key, value in spec.items())
    path = folder / "model.yml"
    path.write_text(
        f"description: a model\ntier: simulated\nbackends: [kernel]\nsimulation:\n  kernel:\n{keys}"
    )
    return default_datapath("kernel", load_all([path]))


def session(folder: Path, *, seed: int = 1, store: bool = False) -> Session:
    settings = Settings(store=store, quick=True, seed=seed, results=folder / "results")
    return Session(settings, progress=Silent())


@pytest.fixture
def noisy(tmp_path: Path) -> Datapath:
    """Some 4 of 10 trials lose frames whatever the load: the gate of NDR's stability decides by luck."""
    return simulated(tmp_path, capacity="100 kpps", noise="2 %", lossy_trials="38 %", buffer_frames="0")


def unlucky_seed(folder: Path, datapath: Datapath) -> int:
    """The first seed with which a search is invalid."""
    for seed in range(1, 30):
        with session(folder, seed=seed) as one:
            (verdict,) = one.judge.by_bounds(
                TEST, one.measure.throughput(datapath, FRAMES), {"ndr": ">= 1 kpps"}
            )
        if verdict.outcome is Outcome.INVALID:
            return seed
    raise AssertionError("the model is not noisy")


def attempts(session: Session, datapath: Datapath, kind: str, bound: str) -> Iterator[Verdict]:
    """Verdicts of one test, attempt after attempt, until it is valid."""
    while True:
        measured: Measurement = getattr(session.measure, kind)(datapath, FRAMES)
        metric = {"throughput": "ndr", "loss_curve": "loss_at_10_percent"}[kind]
        (verdict,) = session.judge.by_bounds(TEST, measured, {metric: bound})
        yield verdict
        if not session.recorder.attempts.worthwhile(TEST):
            return
        session.recorder.repeat(TEST)


def share_passed(verdicts: list[Verdict]) -> float:
    valid = [v for v in verdicts if v.outcome is not Outcome.INVALID]
    return sum(v.outcome is Outcome.PASS for v in valid) / len(valid)


def test_what_is_measured_again_passes_no_more_often_than_what_was_valid_at_once(
    tmp_path: Path, noisy: Datapath
) -> None:
    runs = []
    for seed in range(1, 61):
        with session(tmp_path, seed=seed) as one:
            runs.append(list(attempts(one, noisy, "throughput", ">= 96 kpps")))
    at_once = [verdicts[0] for verdicts in runs]
    ended = [verdicts[-1] for verdicts in runs]
    assert sum(v.outcome is Outcome.INVALID for v in at_once) >= 20  # the model is as noisy as it should be
    assert all(v.outcome is not Outcome.INVALID for v in ended)
    assert share_passed(ended) <= share_passed(at_once) + 0.05
    values = [median(v.value or 0 for v in vs if v.outcome is not Outcome.INVALID) for vs in (at_once, ended)]
    assert values[1] <= values[0] * 1.01


def stalling(folder: Path, share: str) -> Datapath:
    """The tester stalls in that share of the trials: for long enough to matter, and without an effect on any time."""
    return simulated(folder, capacity="100 kpps", noise="1 %", stalled_trials=share)


def latency_ends(folder: Path, datapath: Datapath, bound: str, seeds: int) -> list[tuple[Verdict, Verdict]]:
    """The first and the last verdict on a p99, of as many sessions."""
    ends = []
    for seed in range(1, seeds + 1):
        with session(folder, seed=seed) as one:
            verdicts = []
            for _ in range(20):
                measured = one.measure.latency(datapath, FRAMES, [parse_load("80 kpps")])
                verdicts += one.judge.by_bounds(TEST, measured, {"p99": bound})
                if not one.recorder.attempts.worthwhile(TEST):
                    break
                one.repeat(TEST)
        ends.append((verdicts[0], verdicts[-1]))
    return ends


def test_a_bound_on_a_time_is_met_no_more_often_for_being_measured_again(tmp_path: Path) -> None:
    """A bound at the median is met in half of the cases, however often the tester stalls."""
    seeds = 120
    calm = latency_ends(tmp_path, stalling(tmp_path, "0 %"), "<= 1 s", seeds)
    middle = f"<= {median(v.value or 0 for _, v in calm)} us"
    ends = latency_ends(tmp_path, stalling(tmp_path, "50 %"), middle, seeds)
    assert (
        sum(first.outcome is Outcome.INVALID for first, _ in ends) >= seeds / 8
    )  # it stalls as often as it should
    assert {last.outcome for _, last in ends} == {Outcome.PASS, Outcome.FAIL}
    passed = sum(last.outcome is Outcome.PASS for _, last in ends) / seeds
    assert abs(passed - 0.5) < 3 * (0.25 / seeds) ** 0.5


def test_a_stall_is_worth_another_attempt_whether_the_bound_was_missed_or_met(tmp_path: Path) -> None:
    datapath = stalling(tmp_path, "100 %")
    loads = [parse_load("80 kpps")]
    with session(tmp_path) as one:
        measured = one.measure.latency(datapath, FRAMES, loads)
        for test, bound, outcome in (("met", "<= 1 s", Outcome.PASS), ("missed", "<= 1 ns", Outcome.INVALID)):
            (verdict,) = one.judge.by_bounds(test, measured, {"p99": bound})
            assert verdict.outcome is outcome
            assert one.recorder.reasons(test) == {"the tester stalled"}
            assert one.recorder.to_repeat(test) == [measured]


def test_a_pdr_is_kept_where_only_the_ndr_beside_it_is_measured_again(
    tmp_path: Path, noisy: Datapath
) -> None:
    """The PDR may have been judged already: the verdict and the row must show the same figure."""
    with session(tmp_path, seed=unlucky_seed(tmp_path, noisy)) as one:
        first = one.measure.throughput(noisy, FRAMES)
        (pdr,) = one.judge.by_bounds("pdr", first, {"pdr": ">= 1 kpps"})
        assert pdr.outcome is Outcome.PASS
        last = list(attempts(one, noisy, "throughput", ">= 1 kpps"))[-1]
        again = one.measure.throughput(noisy, FRAMES)
    assert last.outcome is Outcome.PASS
    assert again.attempt > 1
    assert first.throughput is not None
    assert again.throughput is not None
    assert again.throughput.pdr == first.throughput.pdr
    assert again.throughput.ndr != first.throughput.ndr
    assert all(trial in again.throughput.trials for trial in first.throughput.trials[1:])
    assert any("PDR is that of attempt 1" in words for words in again.deviations)


def test_a_rerun_of_a_test_measures_the_pdr_anew(tmp_path: Path, noisy: Datapath) -> None:
    with session(tmp_path, seed=unlucky_seed(tmp_path, noisy)) as one:
        list(attempts(one, noisy, "throughput", ">= 1 kpps"))
        kept = one.measure.throughput(noisy, FRAMES)
        one.recorder.forget({kept.key})
        anew = one.measure.throughput(noisy, FRAMES)
    assert anew.throughput is not None
    assert kept.throughput is not None
    assert anew.throughput.pdr != kept.throughput.pdr


def test_back_to_back_frames_rest_on_the_pdr(tmp_path: Path, lossy: Datapath) -> None:
    with session(tmp_path, seed=unlucky_seed(tmp_path, lossy)) as one:
        rates = one.measure.throughput(lossy, FRAMES)
        bursts = one.measure.back_to_back(lossy, FRAMES)
        assert [g.name for g in bursts.gates if g.state == "invalid"] == ["base-pdr"]
        one.judge.without_targets(TEST, [bursts])
        assert one.recorder.to_repeat(TEST) == [bursts, rates]


def test_every_attempt_is_kept_and_the_last_one_stands(tmp_path: Path, noisy: Datapath) -> None:
    from labkit.record.store import load

    with session(tmp_path, seed=unlucky_seed(tmp_path, noisy), store=True) as one:
        verdicts = list(attempts(one, noisy, "throughput", ">= 96 kpps"))
        folder = one.recorder.folder
    assert folder is not None
    assert len(verdicts) > 1
    for stored in (load(folder), load(folder / "records.jsonl")):
        (stands,) = (m for m in stored.measurements if m.kind == "throughput")
        former = [m for m in stored.former_measurements if m.kind == "throughput"]
        assert [m.attempt for m in (*former, stands)] == list(range(1, len(verdicts) + 1))
        assert stored.verdicts == (verdicts[-1],)
        assert stored.former_verdicts == tuple(verdicts[:-1])
        assert [m.attempt for m in stored.measurements if m.kind == "mrr"] == [1]  # valid: not made again


def test_a_valid_measurement_is_never_made_again(tmp_path: Path) -> None:
    datapath = simulated(tmp_path, capacity="100 kpps")
    with session(tmp_path) as one:
        measured = one.measure.throughput(datapath, FRAMES)
        (verdict,) = one.judge.by_bounds(TEST, measured, {"ndr": ">= 1 Mpps"})
        assert verdict.outcome is Outcome.FAIL
        assert one.recorder.attempts.to_repeat(TEST) == ()
        one.recorder.repeat(TEST)
        assert one.measure.throughput(datapath, FRAMES) is measured


def test_two_tests_that_blame_one_measurement_make_it_again_once(tmp_path: Path, noisy: Datapath) -> None:
    with session(tmp_path, seed=unlucky_seed(tmp_path, noisy)) as one:
        first = one.measure.throughput(noisy, FRAMES)
        for test in ("a", "b"):
            (verdict,) = one.judge.by_bounds(test, first, {"ndr": ">= 1 kpps"})
            assert verdict.outcome is Outcome.INVALID
        one.recorder.repeat("a")
        second = one.measure.throughput(noisy, FRAMES)
        one.recorder.repeat("b")
        assert one.measure.throughput(noisy, FRAMES) is second
        assert (first.attempt, second.attempt) == (1, 2)


@pytest.mark.parametrize("name", ["proof", "affinity", "guest", "beyond"])
def test_a_reason_that_stays_is_not_worth_another_attempt(tmp_path: Path, name: str) -> None:
    gates = [Gate(name=n, state="invalid", value="", limit="", why="") for n in ("steal", name)]
    with session(tmp_path) as one:
        measured = one.measure.mrr(simulated(tmp_path, capacity="100 kpps"), FRAMES)
    assert name not in PASSING
    assert worth_another((measured,), gates) == ()
    assert worth_another((measured,), gates[:1]) == (measured,)


@pytest.fixture
def lossy(tmp_path: Path) -> Datapath:
    """Some 4 of 10 trials lose much whatever the load: the gate of the whole search decides by luck."""
    return simulated(
        tmp_path, capacity="100 kpps", noise="2 %", lossy_trials="38 %", lossy_frames="200", buffer_frames="0"
    )


def test_a_latency_relative_to_an_invalid_rate_is_invalid_and_both_are_measured_again(
    tmp_path: Path, lossy: Datapath
) -> None:
    loads = [parse_load("50% PDR"), parse_load("10 kpps")]
    with session(tmp_path, seed=unlucky_seed(tmp_path, lossy)) as one:
        rates = one.measure.throughput(lossy, FRAMES)
        measured = one.measure.latency(lossy, FRAMES, loads)
        at_rate, at_pps = (
            one.judge.by_bounds(TEST, measured, {"p50": "<= 1 s", "load": load.text})[0] for load in loads
        )
        assert at_pps.outcome is Outcome.PASS  # a rate in pps rests on nothing
        assert at_rate.outcome is Outcome.INVALID
        assert at_rate.reason.startswith("gate base-pdr: PDR is invalid by stability")
        assert one.recorder.to_repeat(TEST) == [measured, rates]  # both count for the time that it takes
        one.repeat(TEST)
        again = one.measure.latency(lossy, FRAMES, loads)
        assert again.attempt == 2
        assert one.measure.throughput(lossy, FRAMES).attempt == 2
        assert one.measure.mrr(lossy, FRAMES).attempt == 1


def test_a_rate_that_has_become_valid_meanwhile_is_not_measured_again_for_the_latency(
    tmp_path: Path, lossy: Datapath
) -> None:
    loads = [parse_load("50% PDR")]
    with session(tmp_path, seed=unlucky_seed(tmp_path, lossy)) as one:
        first = one.measure.latency(lossy, FRAMES, loads)
        one.judge.by_bounds("latency", first, {"p50": "<= 1 s"})
        list(attempts(one, lossy, "throughput", ">= 1 kpps"))
        rates = one.measure.throughput(lossy, FRAMES)
        one.repeat("latency")
        again = one.measure.latency(lossy, FRAMES, loads)
        assert (again.attempt, one.measure.throughput(lossy, FRAMES)) == (2, rates)
        (verdict,) = one.judge.by_bounds("latency", again, {"p50": "<= 1 s"})
        assert verdict.outcome is Outcome.PASS


def test_a_search_with_a_valid_pdr_is_not_made_again_for_a_load_relative_to_its_ndr(
    tmp_path: Path, noisy: Datapath
) -> None:
    with session(tmp_path, seed=unlucky_seed(tmp_path, noisy)) as one:
        rates = one.measure.throughput(noisy, FRAMES)
        for load, outcome in (("50% PDR", Outcome.PASS), ("50% NDR", Outcome.INVALID)):
            measured = one.measure.latency(noisy, FRAMES, [parse_load(load)])
            (verdict,) = one.judge.by_bounds(load, measured, {"p50": "<= 1 s"})
            assert verdict.outcome is outcome, verdict
        one.repeat("50% NDR")
        assert one.measure.throughput(noisy, FRAMES) is rates  # a PDR may have been judged by it


@pytest.fixture
def disturbed(monkeypatch: pytest.MonkeyPatch) -> list[MaxOfferedLoad]:
    """What the maximum offered load is from one time to the next: a simulated tester is never disturbed."""
    steal = Gate(name="steal", state="invalid", value="3.00% on CPU 1", limit="", why="")
    script = [MaxOfferedLoad(pps=101e3, disturbed=(steal,))]

    def max_offered_load(_self: object, *_: object, again: bool) -> MaxOfferedLoad:
        if again and len(script) > 1:
            del script[0]
        return script[0]

    monkeypatch.setattr(testbeds.Testbeds, "max_offered_load", max_offered_load)
    return script


def test_a_disturbed_maximum_offered_load_is_measured_again_at_once_where_it_decides(
    tmp_path: Path, disturbed: list[MaxOfferedLoad]
) -> None:
    disturbed.append(MaxOfferedLoad(pps=1e6))
    with session(tmp_path) as one:
        measured = one.measure.mrr(simulated(tmp_path, capacity="100 kpps"), FRAMES)
    assert (measured.limited_by, measured.attempt) == ("dut", 1)
    assert measured.tester["max_offered_load_pps"] == 1e6


def test_a_limit_that_stays_unsure_is_decided_with_the_next_attempt_and_the_rates_stay(
    tmp_path: Path, disturbed: list[MaxOfferedLoad]
) -> None:
    datapath = simulated(tmp_path, capacity="100 kpps")
    with session(tmp_path, store=True) as one:
        mrr, rates = one.measure.mrr(datapath, FRAMES), one.measure.throughput(datapath, FRAMES)
        assert (mrr.limited_by, rates.limited_by) == ("tester", "tester")
        (at_least,) = one.judge.by_bounds(TEST, mrr, {"mrr": ">= 50 kpps"})
        assert at_least.outcome is Outcome.PASS  # a lower bound is enough for that
        assert not one.recorder.attempts.worthwhile(TEST)
        (at_most,) = one.judge.by_bounds(TEST, mrr, {"mrr": "<= 150 kpps"})
        assert at_most.outcome is Outcome.INVALID
        assert one.recorder.reasons(TEST) == {"max-offered-load"}
        assert one.recorder.to_repeat(TEST) == []
        one.repeat(TEST)
        assert one.measure.mrr(datapath, FRAMES) is mrr  # disturbed once more
        one.judge.by_bounds(TEST, mrr, {"mrr": "<= 150 kpps"})
        disturbed.append(MaxOfferedLoad(pps=1e6))
        one.repeat(TEST)
        decided = one.measure.mrr(datapath, FRAMES)
        assert (decided.limited_by, decided.attempt, decided.mrr) == ("dut", 2, mrr.mrr)
        (verdict,) = one.judge.by_bounds(TEST, decided, {"mrr": "<= 150 kpps"})
        assert verdict.outcome is Outcome.PASS
        # The limits of all rates on the link are decided with it.
        assert one.measure.throughput(datapath, FRAMES).throughput == rates.throughput
        assert one.measure.throughput(datapath, FRAMES).limited_by == "dut"


def test_a_ratio_to_a_kernel_whose_limit_is_unsure_is_decided_with_the_next_attempt(
    tmp_path: Path, disturbed: list[MaxOfferedLoad]
) -> None:
    path = tmp_path / "two.yml"
    path.write_text(
        "description: two\ntier: simulated\nbackends: [kernel, xdp]\n"
        "simulation:\n  kernel: {capacity: 100 kpps}\n  xdp: {capacity: 60 kpps}\n"
    )
    kernel, xdp = (default_datapath(name, load_all([path])) for name in ("kernel", "xdp"))
    with session(tmp_path) as one:
        one.measure.mrr(kernel, FRAMES)
        fast = one.measure.mrr(xdp, FRAMES)
        (first,) = one.judge.by_bounds(TEST, fast, {"ratio_to_kernel": ">= 0.5"})
        assert first.outcome is Outcome.INVALID
        disturbed.append(MaxOfferedLoad(pps=1e6))
        one.repeat(TEST)
        (second,) = one.judge.by_bounds(TEST, one.measure.mrr(xdp, FRAMES), {"ratio_to_kernel": ">= 0.5"})
        assert second.outcome is Outcome.PASS
        assert one.measure.mrr(xdp, FRAMES) is fast


def test_a_kernel_that_was_invalid_is_measured_again_and_no_other_one_takes_its_place(tmp_path: Path) -> None:
    with session(tmp_path) as one:
        for name, kernel in (("two", "100 kpps"), ("other", "10 kpps")):
            path = tmp_path / f"{name}.yml"
            path.write_text(
                "description: two\ntier: simulated\nbackends: [kernel, xdp]\n"
                f"simulation:\n  kernel: {{capacity: {kernel}}}\n  xdp: {{capacity: 60 kpps}}\n"
            )
            one.measure.mrr(default_datapath("kernel", load_all([path])), FRAMES)
        xdp = default_datapath("xdp", load_all([tmp_path / "two.yml"]))
        fast = one.measure.mrr(xdp, FRAMES)
        (kernel_mrr,) = [
            m for m in one.recorder.everything() if m.key.id == fast.key.id.replace("xdp", "kernel")
        ]
        steal = Gate(name="steal", state="invalid", value="", limit="", why="")
        one.recorder.replace(kernel_mrr, replace(kernel_mrr, gates=(steal,)))
        (first,) = one.judge.by_bounds(TEST, fast, {"ratio_to_kernel": ">= 2"})
        assert first.reason.startswith("the kernel's measurement: gate steal")
        one.repeat(TEST)
        (second,) = one.judge.by_bounds(TEST, fast, {"ratio_to_kernel": ">= 2"})
        assert second.outcome is Outcome.FAIL
        assert second.reason.endswith("on two)")


def test_a_test_of_two_rows_repeats_the_one_that_was_invalid(tmp_path: Path) -> None:
    datapath, larger = simulated(tmp_path, capacity="100 kpps"), frame_spec("128")
    loads = [parse_load("10 kpps")]
    with session(tmp_path) as one:
        one.judge.by_bounds(TEST, one.measure.mrr(datapath, larger), {"mrr": ">= 1 kpps"})
        latency = one.measure.latency(datapath, FRAMES, loads)
        steal = Gate(name="steal", state="invalid", value="", limit="", why="")
        one.recorder.replace(latency, replace(latency, gates=(steal,)))
        again = one.measure.latency(datapath, FRAMES, loads)
        one.judge.by_bounds(TEST, again, {"p50": "<= 1 s"})
        one.repeat(TEST)
        (first,) = one.judge.by_bounds(TEST, one.measure.mrr(datapath, larger), {"mrr": ">= 1 kpps"})
        (second,) = one.judge.by_bounds(TEST, one.measure.latency(datapath, FRAMES, loads), {"p50": "<= 1 s"})
    assert (first.outcome, second.outcome) == (Outcome.PASS, Outcome.PASS)


def test_a_maximum_offered_load_that_fails_when_it_is_measured_again_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datapath = default_datapath("kernel", [topology_file.load("veth")])
    steal = Gate(name="steal", state="invalid", value="", limit="", why="")
    script: list[MaxOfferedLoad | ToolFailed] = [
        ToolFailed("at first"),
        MaxOfferedLoad(pps=1e6, disturbed=(steal,)),
        ToolFailed("when it is measured again"),
        MaxOfferedLoad(pps=5e5),
    ]

    def measured(*_: object) -> MaxOfferedLoad:
        found = script.pop(0)
        if isinstance(found, ToolFailed):
            raise found
        return found

    monkeypatch.setattr(testbeds.Testbeds, "_measure_max_offered_load", measured)
    links = testbeds.Testbeds(
        plan_for(quick=True, rfc2544=False),
        tester_engine=None,
        seed=None,
        progress=Silent(),
        on_topology=lambda *_: None,
    )
    with pytest.raises(ToolFailed):
        links.max_offered_load(datapath, FRAMES, again=False)
    first = links.max_offered_load(datapath, FRAMES, again=False)
    assert links.max_offered_load(datapath, FRAMES, again=True) is first
    assert links.max_offered_load(datapath, FRAMES, again=True) == MaxOfferedLoad(pps=1e6)


def test_the_limit_of_a_pdr_is_decided_again_beside_an_ndr_that_is_invalid(
    tmp_path: Path, noisy: Datapath, disturbed: list[MaxOfferedLoad]
) -> None:
    with session(tmp_path, seed=unlucky_seed(tmp_path, noisy)) as one:
        rates = one.measure.throughput(noisy, FRAMES)
        assert rates.limited_by == "tester"
        (verdict,) = one.judge.by_bounds("pdr", rates, {"pdr": "<= 150 kpps"})
        assert verdict.outcome is Outcome.INVALID
        assert one.recorder.reasons("pdr") == {"max-offered-load"}
        disturbed.append(MaxOfferedLoad(pps=1e6))
        one.repeat("pdr")
        decided = one.measure.throughput(noisy, FRAMES)
        assert (decided.throughput, decided.limited_by) == (
            rates.throughput,
            "dut",
        )  # the search is not made again
        (verdict,) = one.judge.by_bounds("pdr", decided, {"pdr": "<= 150 kpps"})
        assert verdict.outcome is Outcome.PASS
        (verdict,) = one.judge.by_bounds("ndr", decided, {"ndr": "<= 150 kpps"})
        assert verdict.outcome is Outcome.INVALID
        assert one.recorder.reasons("ndr") == {"stability-ndr"}
        assert one.recorder.to_repeat("ndr") == [decided]
