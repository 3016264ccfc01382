"""Two runs compared: only where they are comparable, and nothing called a difference that is within its uncertainty."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from sample_run import host_measurements, sample_run

from labkit.cli import main
from labkit.errors import ConfigInvalid
from labkit.measure.gate import Gate
from labkit.measure.hosttimes import HostTimes, core_times
from labkit.measure.latency import LatencyPoint
from labkit.record.codec import encode
from labkit.record.model import HostKey
from labkit.record.provenance import Environment
from labkit.record.run import Run
from labkit.results import fail_if
from labkit.results.compare import compare
from labkit.results.compare_table import closing_line, fail_lines, print_comparison
from labkit.results.comparison import Comparison, Difference

A = sample_run(host=True)


def with_env(run: Run, **parts: dict[str, object]) -> Run:
    """The run with facts of its environment changed, by section."""
    env = run.environment
    assert env is not None
    changed = {
        name: replace(getattr(env, name), **facts) if isinstance(facts, dict) else facts
        for name, facts in parts.items()
    }
    return replace(run, environment=replace(env, **changed))


def here(run: Run) -> Environment:
    """The record of its machine."""
    assert run.environment is not None
    return run.environment


def with_host(run: Run, **more: object) -> Run:
    packets = [m for m in run.measurements if not isinstance(m.key, HostKey)]
    return replace(run, measurements=(*host_measurements(**more), *packets))  # type: ignore[arg-type]


RT = {
    "release": "6.1.0-28-rt-amd64",
    "version": "#1 SMP PREEMPT_RT",
    "realtime": True,
    "cmdline": "root=/dev/vda1 quiet isolcpus=managed_irq,domain,1 nohz_full=1",
}
B = with_env(with_host(A, scale=0.1), kernel=RT, cpu={"isolated": "1", "nohz_full": "1"})


@cache
def a_and_b() -> Comparison:
    return compare(A, B)


@cache
def a_and_a() -> Comparison:
    return compare(A, A)


def of(found: Comparison, kind: str, metric: str, backend: str = "lowlatency") -> Difference:
    return next(
        d
        for d in found.differences
        if (d.kind, d.metric) == (kind, metric)
        and getattr(d.key, "backend", "lowlatency") == backend
        and getattr(d.key, "frame", "64") == "64"
    )


def text(found: Comparison, width: int = 120, *, everything: bool = False) -> str:
    out = io.StringIO()
    print_comparison(found, file=out, width=width, everything=everything)
    return out.getvalue()


def test_a_run_against_itself_shows_no_difference() -> None:
    found = a_and_a()
    assert {d.finding for d in found.differences} <= {"within uncertainty", "invalid", "not comparable"}
    assert found.kernel == found.besides == ()
    assert "A and B are one and the same run." in found.notes
    assert any("the same in both" in note for note in found.notes)
    assert all(d.ratio in (1.0, None) and d.difference in (0.0, None) for d in found.differences)


def test_the_tail_of_wakeups_that_went_is_lower_and_rates_are_what_they_were() -> None:
    found = a_and_b()
    p999 = of(found, "wakeup", "p99.9")
    assert p999.finding == "lower"
    assert p999.ratio is not None
    assert p999.ratio < 0.5
    assert of(found, "wakeup", "p50").finding == "within uncertainty"
    assert of(found, "throughput", "pdr", "kernel").finding == "within uncertainty"
    assert compare(B, A).counts["higher"] == found.counts["lower"] > 0


def test_one_run_a_side_is_never_called_better_or_worse() -> None:
    """What a repetition would bring is in neither."""
    out = text(a_and_b(), 400)
    assert not {"better", "worse"} & set(re.findall(r"\w+", out))
    assert closing_line(a_and_b()).startswith("B against A in these two runs: ")
    assert "in these two runs; from run to run there is more" in out


def test_kernel_and_command_line_are_named_first_and_what_they_are_about_in_words() -> None:
    out = text(a_and_b())
    head = out[: out.index("wake-up")]
    assert "A  20260102T030405Z-abc123: Linux 6.1.0-test, flavour not known" in head
    assert "Linux 6.1.0-28-rt-amd64, flavour rt (preemption full)" in head
    assert "compared: command line:" in head
    assert "isolcpus=managed_irq,domain,1" in head
    assert "compared: isolated cores: none -> 1" in head
    assert "also differs" not in head
    assert "about wake-ups, not about throughput" in out
    assert "measure A, B, A, B in turn" in out.replace("\n", " ")
    assert out.rstrip().splitlines()[-1] == closing_line(a_and_b())


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"cpu": {"model": "Other CPU"}}, "CPU: Example CPU 9000 .* and Other CPU"),
        ({"cpu": {"family_model_stepping": "1/2/4"}}, "family/model/stepping"),
        ({"kernel": {"machine": "aarch64"}}, "architecture"),
        ({"virtualisation": {"guest": False}}, "virtual machine: True and False"),
        ({"host": "0" * 32}, "machine id"),
    ],
)
def test_unlike_hosts_are_refused_by_name(parts: dict[str, object], words: str) -> None:
    known = with_env(A, host="f" * 32)  # type: ignore[arg-type]
    with pytest.raises(ConfigInvalid, match=rf"the runs are of two hosts: .*{words}"):
        compare(known, with_env(known, **parts))  # type: ignore[arg-type]


def with_dut(run: Run, **parts: dict[str, object]) -> Run:
    """The run with a DUT that is another machine, with these facts."""
    there = with_env(run, host="d" * 32, **parts).environment  # type: ignore[arg-type]
    return replace(run, environment=replace(here(run), host="f" * 32, hosts={"dut": encode(there)}))


def test_the_kernel_of_a_dut_elsewhere_is_compared_as_the_controllers_is() -> None:
    memory: dict[str, object] = {"total_bytes": 7 << 30}
    found = compare(with_dut(A), with_dut(A, kernel=RT, memory=memory))

    assert {c.what for c in found.kernel} == {"dut: kernel", "dut: command line", "dut: build"}
    assert [c.what for c in found.besides] == ["dut: memory"]
    assert found.kernel_b.startswith("here: Linux 6.1.0-test, ")
    assert found.kernel_b.endswith("; dut: Linux 6.1.0-28-rt-amd64, flavour rt (preemption full)")
    assert not any("are the same in both" in note for note in found.notes)
    assert "compared: dut: command line:" in text(found)


def test_a_host_that_is_called_controller_hides_no_other() -> None:
    def run(**facts: dict[str, object]) -> Run:
        there = here(with_env(A, host="d" * 32))  # type: ignore[arg-type]
        own = here(with_env(A, host="f" * 32, **facts))  # type: ignore[arg-type]
        return replace(A, environment=replace(own, hosts={"controller": encode(there)}))

    assert [c.what for c in compare(run(), run(memory={"total_bytes": 7 << 30})).besides] == ["here: memory"]


def test_another_dut_of_that_name_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"two hosts: dut: CPU: Example CPU 9000 .* and Other CPU"):
        compare(with_dut(A), with_dut(A, cpu={"model": "Other CPU"}))


def test_a_dut_of_one_run_only_explains_what_nobody_knows() -> None:
    notes = compare(with_dut(A), with_env(A, host="f" * 32)).notes  # type: ignore[arg-type]
    assert "In one run only: dut. What differs between its machines is not known." in notes
    assert not any("are the same in both" in note for note in notes)


def test_a_record_of_a_dut_that_cannot_be_read_is_named() -> None:
    broken = replace(A, environment=replace(here(A), hosts={"dut": {"cpu": 1}}))
    with pytest.raises(ConfigInvalid, match="the record of a machine cannot be read: dut"):
        compare(broken, broken)


def test_what_a_command_line_changes_of_a_machine_makes_no_other_host_of_it() -> None:
    found = compare(A, with_env(A, cpu={"online": "0", "online_count": 1}, memory={"total_bytes": 7 << 30}))
    assert {c.what for c in found.besides} == {"cores online", "memory"}
    assert "also differs: cores online: 0-1 -> 0" in text(found)
    assert "More than the kernel differs" in " ".join(found.notes)


def test_a_lab_of_another_tier_is_refused() -> None:
    assert A.environment is not None
    labs = tuple(replace(t, tier="hardware") for t in A.environment.topologies)
    with pytest.raises(
        ConfigInvalid, match="topology veth is of tier software in A and of tier hardware in B"
    ):
        compare(A, with_env(A, topologies=labs))  # type: ignore[arg-type]


def test_a_run_that_does_not_say_what_it_ran_on_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"run B .* no record of its machine"):
        compare(A, replace(A, environment=None))


def test_what_cannot_be_trusted_is_marked_and_not_judged() -> None:
    bad = [
        replace(m, gates=tuple(replace(g, state="invalid") for g in m.gates)) if m.kind == "wakeup" else m
        for m in B.measurements
    ]
    found = compare(A, replace(B, measurements=tuple(bad)))
    row = of(found, "wakeup", "p99.9")
    assert row.finding == "invalid"
    assert "B: gate steal" in row.reason
    assert "invalid wake-up, p50, p99, p99.9, max: B: gate steal" in text(found)


def test_two_lower_bounds_say_nothing_of_each_other() -> None:
    limited = tuple(replace(m, limited_by="tester") for m in A.measurements)
    found = compare(replace(A, measurements=limited), replace(A, measurements=limited))
    row = of(found, "throughput", "pdr", "kernel")
    assert (row.finding, "A and B: at least" in row.reason) == ("not comparable", True)
    assert "≥ " in text(found, everything=True)
    assert (row.ratio, row.difference) == (None, None)


def test_what_one_run_lacks_is_said_once_a_row() -> None:
    found = compare(A, replace(A, measurements=tuple(m for m in A.measurements if m.kind != "wakeup")))
    assert of(found, "wakeup", "max").finding == "not comparable"
    lines = [line for line in text(found, 200).splitlines() if line.startswith("not comparable wake-up")]
    assert lines == ["not comparable wake-up, p50, p99, p99.9, max: not measured (or too few samples) in B"]


def test_cores_that_one_boot_isolated_are_compared_with_the_same_cores_of_the_other() -> None:
    wide = with_host(A, cores=(0, 1, 2))
    found = compare(wide, with_host(A, cores=(1,)))
    assert all(d.ratio == 1.0 for d in found.differences if d.kind in ("wakeup", "busy_loop"))
    assert "wakeup: cores 0-2 in A, 1 in B: compared on 1." in found.notes
    apart = compare(with_host(A, cores=(0,)), with_host(A, cores=(1,)))
    assert of(apart, "wakeup", "max").reason == "on other cores in A than in B"


def test_wakeups_of_unlike_intervals_are_not_compared() -> None:
    seldom = tuple(
        replace(m, wakeup=replace(m.wakeup, interval_us=1.0)) if m.wakeup else m for m in A.measurements
    )
    row = of(compare(A, replace(A, measurements=seldom)), "wakeup", "max")
    assert (row.finding, "every 100000 us in A" in row.reason) == ("not comparable", True)


def with_hardware(run: Run, **facts: object) -> Run:
    return replace(
        run,
        measurements=tuple(
            replace(m, hardware=replace(m.hardware, **facts)) if m.hardware else m  # type: ignore[arg-type]
            for m in run.measurements
        ),
    )


@pytest.mark.parametrize("facts", [{"gaps": 0, "max_us": None}, {"max_us": 15.0}, {"max_us": 900.0}])
def test_gaps_of_the_hardware_are_shown_and_never_judged(facts: dict[str, object]) -> None:
    found = compare(A, with_hardware(A, **facts))
    row = of(found, "hardware", "max")
    assert row.finding == "not comparable"
    assert "not the kernel's" in row.reason


def test_a_hardware_gap_below_the_threshold_is_at_most_the_threshold() -> None:
    found = compare(A, with_hardware(A, gaps=0, max_us=None))
    assert of(found, "hardware", "max").ratio is None
    assert "≤ 10 µs" in text(found, everything=True)


def with_wakeups(run: Run, bins_us: dict[int, int], *, duration_s: float = 30.0, **more: int) -> Run:
    core = core_times(
        core=0,
        counted=sum(bins_us.values()) + more.pop("beyond", 0),
        bins_us=bins_us,
        max_us=more.pop("max_us", max(bins_us)),
        min_us=min(bins_us),
        mean_us=1.0,
        interval_us=500,
        **more,
    )
    times = HostTimes(duration_s=duration_s, interval_us=500.0, resolution_us=0.0, cores=(core,))
    return replace(
        run, measurements=tuple(replace(m, wakeup=times) for m in run.measurements if m.kind == "wakeup")
    )


def test_one_late_wakeup_makes_no_difference_of_two_maxima() -> None:
    """A maximum is one sample: its interval begins where ten lie beyond."""
    usual = {10: 20_000, 50: 20}
    lone = compare(with_wakeups(A, usual | {100: 1}), with_wakeups(A, usual | {900: 1}))
    assert of(lone, "wakeup", "max").finding == "within uncertainty"
    many = compare(with_wakeups(A, usual | {100: 1}), with_wakeups(A, usual | {900: 12}))
    assert of(many, "wakeup", "max").finding == "higher"


def test_all_that_one_stall_omitted_is_one_event() -> None:
    """One stall of 40 ms omits 79 wake-ups: more than a thousandth of all, and still it came once."""
    stalled = with_wakeups(A, {10: 60_000, 100: 1, 40_000: 1})
    found = compare(stalled, with_wakeups(A, {10: 60_000, 100: 1}))
    assert (of(found, "wakeup", "p99.9").ratio or 1.0) < 0.01
    assert of(found, "wakeup", "p99.9").finding == "within uncertainty"
    assert of(found, "wakeup", "max").finding == "within uncertainty"
    again_and_again = with_wakeups(A, {10: 60_000, 100: 1, 40_000: 100})
    assert of(compare(again_and_again, with_wakeups(A, {10: 60_000})), "wakeup", "p99.9").finding == "lower"


def test_times_beyond_the_histogram_are_known_to_be_as_long_as_it_reaches() -> None:
    """Fifteen beyond 400 us of which the longest was 5000: the other fourteen may have been 401."""
    far = with_wakeups(A, {10: 60_000}, beyond=15, max_us=5_000, reach_us=400)
    less_far = with_wakeups(A, {10: 60_000}, beyond=1, max_us=3_000, reach_us=400)
    assert of(compare(far, less_far), "wakeup", "max").finding == "within uncertainty"
    within = with_wakeups(A, {10: 60_000, 300: 1})
    assert of(compare(far, within), "wakeup", "max").finding == "lower"


def test_maxima_of_unlike_durations_are_not_compared_and_percentiles_are() -> None:
    usual = {10: 60_000, 50: 1_000}
    long, short = with_wakeups(A, usual, duration_s=600.0), with_wakeups(A, {10: 60_000}, duration_s=6.0)
    found = compare(long, short)
    row = of(found, "wakeup", "max")
    assert (row.finding, row.reason) == ("not comparable", "the longest of 600 s in A, of 6 s in B")
    assert of(found, "wakeup", "p99").finding == "lower"
    near = compare(with_wakeups(A, usual, duration_s=31.0), with_wakeups(A, usual))
    assert of(near, "wakeup", "max").finding == "within uncertainty"


def with_points(run: Run, **facts: object) -> Run:
    """The run with facts of its round trips changed: those of the trial under its own name."""
    trial = facts.pop("trial", {})
    share = facts.pop("load_share", 1.0)

    def changed(point: LatencyPoint) -> LatencyPoint:
        return replace(
            point,
            load_pps=point.load_pps * share,  # type: ignore[operator]
            trial=replace(point.trial, **trial),  # type: ignore[arg-type]
        )

    return replace(
        run,
        measurements=tuple(
            replace(m, latency=replace(m.latency, points=tuple(map(changed, m.latency.points))))
            if m.latency
            else m
            for m in run.measurements
        ),
    )


def test_round_trips_at_unlike_loads_of_one_name_are_not_compared() -> None:
    row = of(compare(A, with_points(A, load_share=0.1)), "latency", "p50 50% PDR", "kernel")
    assert row.finding == "not comparable"
    assert re.fullmatch(r"at .+pps in A, at .+pps in B", row.reason)
    near = compare(A, with_points(A, load_share=0.97))
    assert of(near, "latency", "p50 50% PDR", "kernel").finding == "within uncertainty"


def test_datapaths_on_other_cores_are_not_compared() -> None:
    moved = tuple(
        replace(
            m,
            gates=tuple(replace(g, value="tester 2, DUT 3") if g.name == "affinity" else g for g in m.gates),
        )
        for m in A.measurements
    )
    found = compare(A, replace(A, measurements=moved))
    for kind, metric in (("throughput", "pdr"), ("latency", "p50 idle")):
        row = of(found, kind, metric, "kernel")
        assert (row.finding, row.reason) == ("not comparable", "tester 0, DUT 1 in A; tester 2, DUT 3 in B")
    assert of(found, "wakeup", "max").finding == "within uncertainty"


def test_figures_of_two_tester_engines_are_not_compared() -> None:
    def by(engine: str) -> Run:
        return replace(
            A, measurements=tuple(replace(m, tester={**m.tester, "engine": engine}) for m in A.measurements)
        )

    found = compare(by("af_xdp"), by("af_packet"))
    for kind, metric in (("throughput", "pdr"), ("latency", "p50 idle")):
        row = of(found, kind, metric, "kernel")
        assert (row.finding, row.reason) == (
            "not comparable",
            "the tester's engine was af_xdp in A, af_packet in B",
        )
    assert (
        of(compare(by("af_xdp"), by("af_xdp")), "throughput", "pdr", "kernel").finding == "within uncertainty"
    )


def test_a_load_relative_to_an_invalid_rate_is_invalid_and_no_other_load_is() -> None:
    base = Gate(name="base-pdr", state="invalid", value="PDR is invalid by stability", limit="valid", why="")
    b = replace(
        A,
        measurements=tuple(
            replace(m, gates=(*m.gates, base)) if m.kind == "latency" else m for m in A.measurements
        ),
    )
    found = compare(A, b)
    assert of(found, "latency", "p50 50% PDR", "kernel").finding == "invalid"
    assert of(found, "latency", "p50 50% PDR", "kernel").reason.startswith("B: gate base-pdr")
    assert of(found, "latency", "p50 idle", "kernel").finding == "within uncertainty"


def test_a_round_trip_that_the_testers_own_stalls_explain_is_not_called_higher() -> None:
    """Under ten times the load of A's idle point, and the tester stood still for longer than its tail is."""
    slow = tuple(
        replace(
            m, latency=replace(m.latency, points=(replace(m.latency.points[-1], load="idle", load_pps=1e3),))
        )
        if m.latency
        else m
        for m in A.measurements
    )
    b = replace(A, measurements=slow)
    assert of(compare(A, b), "latency", "p99 idle", "kernel").finding == "higher"
    stalled = with_points(b, trial={"stall_max_s": 0.1, "stall_total_s": 0.5})
    row = of(compare(A, stalled), "latency", "p99 idle", "kernel")
    assert row.finding == "invalid"
    assert row.reason.startswith("B: the tester itself stalled for 50")
    lower = of(compare(stalled, A), "latency", "p99 idle", "kernel")
    assert lower.reason.startswith("A: the tester itself stalled")
    # What is lower although its tester stood still is lower all the same.
    there = with_points(A, trial={"stall_max_s": 0.1, "stall_total_s": 0.5})
    assert of(compare(b, there), "latency", "p99 idle", "kernel").finding == "lower"


def test_a_row_measured_twice_keeps_what_only_the_first_has_and_says_so() -> None:
    ladder = next(m for m in A.measurements if m.latency and m.key.backend == "kernel")
    assert ladder.latency is not None
    idle = replace(ladder, latency=replace(ladder.latency, points=ladder.latency.points[:1]))
    found = compare(A, replace(A, measurements=(*A.measurements, idle)))
    assert of(found, "latency", "p50 50% PDR", "kernel").finding == "within uncertainty"
    notes = [note for note in found.notes if "was measured" in note]
    assert notes == [
        f"Run B: latency {ladder.key.id} was measured 2 times: the last of each metric is compared."
    ]


def test_of_wakeups_measured_twice_those_are_compared_that_have_their_like() -> None:
    long, short = (
        with_wakeups(A, {10: 60_000, 50: 100}, duration_s=duration_s).measurements
        for duration_s in (600.0, 6.0)
    )
    both, one = replace(A, measurements=(*long, *short)), replace(A, measurements=long)
    assert of(compare(both, one), "wakeup", "max").finding == "within uncertainty"
    assert "Run A: wakeup lowlatency-wakeup-veth was measured 2 times" in " ".join(compare(both, one).notes)
    assert not any("measured 2 times" in note for note in compare(one, one).notes)


def test_a_machine_without_an_id_is_taken_on_trust_and_that_is_said() -> None:
    known = with_env(A, host="f" * 32)  # type: ignore[arg-type]
    words = "A machine id is missing: that both runs are of one machine is assumed, not verified."
    assert words in compare(A, known).notes
    assert words not in compare(known, known).notes


def test_a_percentile_is_as_sure_as_its_rank() -> None:
    """p99 of 20 000: its rank is known to within 14, so that many samples more or less are no difference."""
    few = compare(with_wakeups(A, {10: 19_805, 50: 195}), with_wakeups(A, {10: 19_795, 50: 205}))
    assert of(few, "wakeup", "p99").ratio == pytest.approx(5.0, rel=0.01)
    assert of(few, "wakeup", "p99").finding == "within uncertainty"
    many = compare(with_wakeups(A, {10: 19_900, 50: 100}), with_wakeups(A, {10: 19_700, 50: 300}))
    assert of(many, "wakeup", "p99").finding == "higher"


def stored(folder: Path, run: Run) -> str:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(encode(run)))
    return str(folder)


def test_the_verb_prints_a_table_or_json_and_says_by_its_exit_code_whether_it_could_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = stored(tmp_path / "a", A), stored(tmp_path / "b", B)
    empty = stored(tmp_path / "empty", replace(A, measurements=()))
    other = stored(tmp_path / "other", with_env(A, cpu={"model": "Other CPU"}))
    assert main(["compare", a, b]) == 0
    assert "wake-up" in capsys.readouterr().out
    assert main(["compare", a, b, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"kernel", "besides", "differences", "notes"} <= document.keys()
    assert {d["finding"] for d in document["differences"]} >= {
        "lower",
        "within spread",
    }  # as version 0.1.0 has it
    assert "within spread" in document["counts"]
    assert main(["compare", a, empty]) == 1
    assert main(["compare", a, other]) == 2
    assert main(["compare", a, str(tmp_path / "none")]) == 2
    assert "two hosts" in capsys.readouterr().err


def test_its_help_says_what_a_and_b_are_and_what_its_exit_codes_mean(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "A, such as the generic boot" in shown
    assert "lower or higher than that of A" in shown
    assert "slower:10%;" in shown
    assert (
        "Exit codes: 0 something could be compared, 1 nothing could or a condition of --fail-if is met"
        in shown
    )
    for word in fail_if.WORDS:
        assert word in shown


def test_run_folders_are_offered_when_tab_is_pressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labkit.cli import _run_completer

    for name in ("20260101T000000Z-a", "20260102T000000Z-b"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "records.jsonl").write_text("{}\n")
    (tmp_path / "results" / "no-run").mkdir()
    monkeypatch.chdir(tmp_path)
    wanted = ["results/20260102T000000Z-b", "results/20260101T000000Z-a"]
    assert _run_completer(prefix="") == wanted
    assert _run_completer(prefix="results/2026") == wanted
    assert _run_completer(prefix=f"{tmp_path}/results/") == [f"{tmp_path}/{one}" for one in wanted]


def test_what_the_words_mean_is_said_where_there_is_something_that_they_explain() -> None:
    differ, equal = text(a_and_b(), 400), text(a_and_a(), 400)
    for words in ("about wake-ups, not about throughput", "from run to run there is more"):
        assert words in differ
        assert words not in equal
        assert words in " ".join(a_and_a().as_json()["notes"])


def test_two_equal_runs_take_a_few_lines_and_no_table() -> None:
    again = replace(A, start=replace(A.start, id="20260103T030405Z-def456"))
    found = compare(A, again)
    shown = text(found, 80)
    assert len(shown.splitlines()) <= 20
    assert "No figure differs beyond its uncertainty (--all shows them)." in shown
    assert closing_line(found) in " ".join(shown.split())
    assert "one and the same run" not in shown
    everything = text(found, 80, everything=True)
    assert len(everything.splitlines()) > 100
    assert "p99.9" in everything


def test_only_what_differs_is_in_the_table() -> None:
    found = a_and_b()
    shown = text(found, 200)
    for d in found.differences:
        line = rf"{re.escape(d.metric if d.unit == 'us' else d.metric.upper())} .* {d.finding}$"
        if d.finding in ("lower", "higher"):
            assert re.search(line, shown, re.MULTILINE)
    assert not re.search(r"within uncertainty$", shown, re.MULTILINE)


def test_reasons_that_are_many_are_counted_and_all_of_them_shown_when_asked_for() -> None:
    """A gate of its own for each measurement: the same word, and another value."""
    bad = [
        replace(m, gates=tuple(replace(g, state="invalid", value=f"{i} %") for g in m.gates))
        for i, m in enumerate(A.measurements)
    ]
    found = compare(A, replace(A, measurements=tuple(bad)))
    shown = text(found, 200)
    assert re.search(r"^and \d+ more such lines \(--all\)$", shown, re.MULTILINE)
    assert len(shown.splitlines()) < 25
    assert len(text(found, 200, everything=True).splitlines()) > 100


def test_what_is_invalid_or_a_lower_bound_has_no_ratio_and_one_bound_makes_the_ratio_one() -> None:
    bad = tuple(replace(m, gates=tuple(replace(g, state="invalid") for g in m.gates)) for m in A.measurements)
    found = compare(A, replace(A, measurements=bad))
    assert {d.finding for d in found.differences if d.kind != "hardware"} == {"invalid"}
    assert {(d.ratio, d.difference) for d in found.differences} == {(None, None)}
    # B's search ended at the tester's limit, and that is above all that A can be.
    fast = tuple(
        replace(
            m,
            limited_by="tester",
            throughput=replace(
                m.throughput,
                pdr=replace(
                    m.throughput.pdr,
                    relevant_lower_bound_pps=9e6,
                    relevant_upper_bound_pps=9.1e6,
                    conditional_throughput_pps=9e6,
                ),
            ),
        )
        if m.throughput and m.key.backend == "kernel"
        else m
        for m in A.measurements
    )
    there, back = compare(A, replace(A, measurements=fast)), compare(replace(A, measurements=fast), A)
    assert (
        of(there, "throughput", "pdr", "kernel").finding,
        of(there, "throughput", "pdr", "kernel").bound,
    ) == (
        "higher",
        "at least",
    )
    assert of(back, "throughput", "pdr", "kernel").bound == "at most"
    assert re.search(r"PDR .* ≥ \+\S+ [kM]pps  ≥ \S+×  higher", text(there, 200))  # noqa: RUF001


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("lower", True),
        ("higher", False),
        ("change", True),
        ("slower", False),  # shorter times are not slower
        ("lower:99%", False),
        ("lower:10", True),
        ("higher,lower", True),
        ("missing", True),  # gaps of the hardware are never judged
        ("invalid", True),
    ],
)
def test_a_pipeline_chooses_what_fails(condition: str, met: bool) -> None:
    conditions = fail_if.parse(condition)
    assert any(c.met_by(a_and_b()) for c in conditions) == met
    lines = fail_lines(a_and_b(), conditions)
    assert [line.split(": ")[0] for line in lines] == [f"--fail-if {c.text}" for c in conditions]
    assert any("FAILED: " in line for line in lines) == met


def test_a_condition_that_is_met_ends_the_verb_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = stored(tmp_path / "a", A), stored(tmp_path / "b", B)
    assert main(["compare", a, b, "--fail-if", "higher", "--fail-if", "slower:5%"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "--fail-if higher: not met",
        "--fail-if slower:5%: not met",
    ]
    assert main(["compare", a, b, "--json", "--fail-if", "higher,lower"]) == 1
    higher, lower = json.loads(capsys.readouterr().out)["fail_if"]
    assert (higher["met"], higher["by"]) == (False, [])
    assert (lower["met"], lower["by"][0]["id"]) == (True, "lowlatency-wakeup-veth")


def test_slower_is_a_lower_rate_or_a_longer_time() -> None:
    (slower,) = fail_if.parse("slower")
    assert slower.met_by(compare(B, A))
    assert not slower.met_by(a_and_b())
    slow = tuple(
        replace(m, mrr=replace(m.mrr, median_pps=1e3, ci95_low_pps=1e3, ci95_high_pps=1e3)) if m.mrr else m
        for m in A.measurements
    )
    b = replace(A, measurements=slow)
    assert {d.metric for d in slower.met_by(compare(A, b))} == {"mrr"}
    assert not slower.met_by(compare(b, A))


@pytest.mark.parametrize(
    ("text_", "says"),
    [
        ("worse", "expected lower, higher, slower, change, invalid, missing"),
        ("slowre", "did you mean 'slower'?"),
        ("", "expected lower"),
        ("lower,", "expected lower"),
        ("slower:", "expected a share"),
        ("slower:-1%", "expected a share"),
        ("slower:nan", "expected a share"),
        ("slower:ten", "--fail-if slower:10%"),
        ("invalid:5%", "invalid has no share"),
    ],
)
def test_a_wrong_condition_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], text_: str, says: str
) -> None:
    assert main(["compare", "no-such-run", "nor-this", "--fail-if", text_]) == 2
    assert says in capsys.readouterr().err


def test_two_plans_are_named_in_a_short_line() -> None:
    """A list of figures without their names says nothing."""
    one = sample_run()
    assert one.environment is not None
    plans = [{"name": name, "mrr_trials": trials} for name, trials in (("quick", 6), ("ordinary", 10))]
    a, b = (replace(one, environment=replace(one.environment, parameters=plan)) for plan in plans)
    out = io.StringIO()
    print_comparison(compare(a, b), file=out)
    (line,) = [line for line in out.getvalue().splitlines() if "durations and search" in line]
    assert re.search(r"quick \(sha256 [0-9a-f]{12}\) -> ordinary \(sha256 [0-9a-f]{12}\)$", line.strip()), (
        line
    )
