"""Two runs beside each other: like with like or not at all, and nothing called a difference that is within spread."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import host_measurements, sample_run

from labkit.cli import main
from labkit.errors import ConfigInvalid
from labkit.measure.hosttimes import HostTimes, core_times
from labkit.results import compare as comparing
from labkit.results.codec import encode
from labkit.results.compare import Comparison, Difference, compare
from labkit.results.compare_table import closing_line, print_comparison
from labkit.results.run import Run

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


def with_host(run: Run, **more: object) -> Run:
    packets = [m for m in run.measurements if not m.key.is_host]
    return replace(run, measurements=(*host_measurements(**more), *packets))  # type: ignore[arg-type]


RT = {
    "release": "6.1.0-28-rt-amd64",
    "version": "#1 SMP PREEMPT_RT",
    "realtime": True,
    "cmdline": "root=/dev/vda1 quiet isolcpus=managed_irq,domain,1 nohz_full=1",
}
B = with_env(with_host(A, scale=0.1), kernel=RT, cpu={"isolated": "1", "nohz_full": "1"})


def of(found: Comparison, kind: str, metric: str, backend: str = "lowlatency") -> Difference:
    return next(
        d
        for d in found.differences
        if (d.kind, d.metric, d.key.backend, d.key.frame in ("", "64")) == (kind, metric, backend, True)
    )


def text(found: Comparison, width: int = 120) -> str:
    out = io.StringIO()
    print_comparison(found, file=out, width=width)
    return out.getvalue()


def test_a_run_against_itself_shows_no_difference() -> None:
    found = compare(A, A)
    assert {d.finding for d in found.differences} <= {"within spread", "invalid", "not comparable"}
    assert found.kernel == found.besides == ()
    assert "the same in both" in found.notes[0]
    assert all(d.ratio in (1.0, None) and d.difference in (0.0, None) for d in found.differences)


def test_the_tail_of_wakeups_that_went_is_better_and_rates_are_what_they_were() -> None:
    found = compare(A, B)
    p999 = of(found, "wakeup", "p99.9")
    assert p999.finding == "better"
    assert p999.ratio is not None
    assert p999.ratio < 0.5
    assert of(found, "wakeup", "p50").finding == "within spread"
    assert of(found, "throughput", "pdr", "kernel").finding == "within spread"
    assert compare(B, A).counts["worse"] == found.counts["better"] > 0


def test_kernel_and_command_line_are_named_first_and_what_they_are_about_in_words() -> None:
    out = text(compare(A, B))
    head = out[: out.index("wake-up")]
    assert "A  20260102T030405Z-abc123: Linux 6.1.0-test, flavour not known" in head
    assert "Linux 6.1.0-28-rt-amd64, flavour rt (preemption full)" in head
    assert "compared: command line:" in head
    assert "isolcpus=managed_irq,domain,1" in head
    assert "compared: isolated cores: none -> 1" in head
    assert "differs besides" not in head
    assert "about wake-ups, not about throughput" in out
    assert "measure A, B, A, B in turn" in out.replace("\n", " ")
    assert out.rstrip().splitlines()[-1] == closing_line(compare(A, B))


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


def test_what_a_command_line_changes_of_a_machine_makes_no_other_host_of_it() -> None:
    found = compare(A, with_env(A, cpu={"online": "0", "online_count": 1}, memory={"total_bytes": 7 << 30}))
    assert {c.what for c in found.besides} == {"cores online", "memory"}
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
    assert "≥ " in text(found)


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


def test_a_hardware_gap_below_the_threshold_is_at_most_the_threshold() -> None:
    none = tuple(
        replace(m, hardware=replace(m.hardware, gaps=0, max_us=None)) if m.hardware else m
        for m in A.measurements
    )
    found = compare(A, replace(A, measurements=none))
    row = of(found, "hardware", "max")
    assert (row.finding, row.ratio) == ("better", None)
    assert "≤ 10 µs" in text(found)


def with_wakeups(run: Run, bins_us: dict[int, int]) -> Run:
    core = core_times(
        core=0,
        counted=sum(bins_us.values()),
        bins_us=bins_us,
        max_us=max(bins_us),
        min_us=min(bins_us),
        mean_us=1.0,
    )
    times = HostTimes(duration_s=30.0, interval_us=500.0, resolution_us=0.0, cores=(core,))
    return replace(
        run, measurements=tuple(replace(m, wakeup=times) for m in run.measurements if m.kind == "wakeup")
    )


def test_one_late_wakeup_makes_no_difference_of_two_maxima() -> None:
    """A maximum is one sample: its spread begins where ten lie beyond."""
    usual = {10: 20_000, 50: 20}
    lone = compare(with_wakeups(A, usual | {100: 1}), with_wakeups(A, usual | {900: 1}))
    assert of(lone, "wakeup", "max").finding == "within spread"
    many = compare(with_wakeups(A, usual | {100: 1}), with_wakeups(A, usual | {900: 12}))
    assert of(many, "wakeup", "max").finding == "worse"


def test_a_percentile_is_as_sure_as_its_rank() -> None:
    """p99 of 20 000: its rank is known to within 14, so that many samples more or less are no difference."""
    few = compare(with_wakeups(A, {10: 19_805, 50: 195}), with_wakeups(A, {10: 19_795, 50: 205}))
    assert of(few, "wakeup", "p99").ratio == pytest.approx(5.0, rel=0.01)
    assert of(few, "wakeup", "p99").finding == "within spread"
    many = compare(with_wakeups(A, {10: 19_900, 50: 100}), with_wakeups(A, {10: 19_700, 50: 300}))
    assert of(many, "wakeup", "p99").finding == "worse"


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
    assert {d["finding"] for d in document["differences"]} >= {"better", "within spread"}
    assert main(["compare", a, empty]) == 1
    assert main(["compare", a, other]) == 2
    assert main(["compare", a, str(tmp_path / "none")]) == 2
    assert "two hosts" in capsys.readouterr().err


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


def test_the_words_of_the_spread_and_of_the_kernels_are_in_every_comparison() -> None:
    assert compare(A, B).notes[-2:] == (comparing.WORDS, comparing.SPREAD)
