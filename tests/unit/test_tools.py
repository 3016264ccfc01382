"""External programs: what they are started with, what is read from their recorded output, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.lowlatency.tools import cyclictest, hwlatdetect, oslat, rtla

DATA = Path(__file__).parent / "data"


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def changed(name: str, change) -> str:
    document = json.loads(recorded(name))
    change(document)
    return json.dumps(document)


def test_wakeups_are_read_by_core() -> None:
    found = cyclictest.parse(recorded("cyclictest/rt-tests-2.4.json"))
    assert found.version == "2.40"
    assert [t.core for t in found.threads] == [0, 1]
    document = json.loads(recorded("cyclictest/rt-tests-2.4.json"))
    for i, thread in enumerate(found.threads):
        raw = document["thread"][str(i)]
        assert (thread.wakeups, thread.min_us, thread.max_us) == (raw["cycles"], raw["min"], raw["max"])
        assert sum(thread.bins_us.values()) + thread.beyond == thread.wakeups
        assert thread.beyond == 0


def test_wakeups_beyond_the_histogram_are_counted_and_the_maximum_is_the_tools_own() -> None:
    found = cyclictest.parse(recorded("cyclictest/rt-tests-2.4-overflow.json"))
    beyond = [t for t in found.threads if t.max_us >= 40]
    assert beyond
    for thread in beyond:
        assert thread.beyond > 0
        assert max(thread.bins_us) < 40 <= thread.max_us


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["thread"]["0"]["histogram"].update({"9": 10**9}), "disagree"),
        (lambda d: d["thread"]["0"].update(max=3), "disagree"),
        (lambda d: d["thread"]["0"].update(cycles=0, histogram={}), "never woken"),
        (lambda d: d["thread"]["1"].pop("max"), "lacks 'max'"),
        (lambda d: d["thread"]["1"].update(max="-"), "can't be read: expected a whole number, got '-'"),
        (lambda d: d["thread"]["1"].update(min=-1), "expected a whole number of 0 or more, got -1"),
        (lambda d: d["thread"]["1"].update(avg=float("nan")), "expected a number of 0 or more, got nan"),
        (lambda d: d["thread"]["1"].update(avg=float("inf")), "expected a number of 0 or more, got inf"),
        (lambda d: d["thread"]["1"].update(cycles=None), "expected a whole number, got None"),
        (lambda d: d["thread"]["1"].update(cycles=float("inf")), "expected a whole number, got inf"),
        (lambda d: d["thread"]["0"]["histogram"].update({"9": -5}), "no histogram"),
        (lambda d: d["thread"]["0"]["histogram"].update({"-9": 5}), "no histogram"),
        (lambda d: d["thread"].update({"1": None}), "can't be read"),
        (lambda d: d.update(num_threads=0), "no results in its JSON.*no thread"),
        (lambda d: d.update(num_threads=-1), "no results in its JSON"),
        (lambda d: d["thread"].pop("1"), "no results in its JSON"),
        (lambda d: d["thread"]["0"].pop("histogram"), "no histogram"),
        (lambda d: d.update(file_version=2), "expected file_version 1"),
    ],
)
def test_what_does_not_fit_together_is_no_result(change, words: str) -> None:
    with pytest.raises(ToolFailed, match=words):
        cyclictest.parse(changed("cyclictest/rt-tests-2.4.json", change))


@pytest.mark.parametrize("text", ["", "Unable to change scheduling policy!", "[]", "{}", "null"])
def test_other_output_is_no_result(text: str) -> None:
    with pytest.raises(ToolFailed, match="no results in its JSON"):
        cyclictest.parse(text)


def test_cyclictest_is_started_as_it_says(on_path: Path) -> None:
    tool = cyclictest.Cyclictest(cores=(1, 3), duration_s=60, interval_us=1000, main_core=0)
    assert tool.argv("/dev/fd/5") == [
        str(on_path / "cyclictest"),
        "--quiet",
        "--mlockall",
        "--threads=2",
        "--affinity=1,3",
        "--policy=fifo",
        "--priority=95",
        "--interval=1000",
        "--distance=0",
        "--duration=60",
        "--histogram=100000",
        "--histfile=/dev/null",
        "--json=/dev/fd/5",
        "--mainaffinity=0",
    ]


@pytest.mark.parametrize("version", ["2.4", "2.6"])
def test_gaps_of_a_busy_loop_are_read_by_core(version: str) -> None:
    found = oslat.parse(recorded(f"oslat/rt-tests-{version}.json"), buckets=1024)
    document = json.loads(recorded(f"oslat/rt-tests-{version}.json"))
    assert found.version == f"{version}0"
    for i, thread in enumerate(found.threads):
        raw = document["thread"][str(i)]
        assert (thread.core, thread.max_us) == (raw["cpu"], raw["max"])
        assert thread.loops == sum(raw["histogram"].values())
        assert min(thread.bins_us) == thread.min_us == 1, "the same gap, by its bucket and as the minimum"
        within = sum(us * n for us, n in thread.bins_us.items()) / sum(thread.bins_us.values())
        assert thread.mean_us == pytest.approx(within, abs=0.05)


def test_the_last_bucket_holds_what_is_longer_and_is_no_value() -> None:
    (thread,) = oslat.parse(recorded("oslat/rt-tests-2.4-overflow.json"), buckets=16).threads
    assert thread.beyond == 205
    assert max(thread.bins_us) == 15
    assert thread.max_us == 2599


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["thread"]["0"].update(avg=float("nan")), "oslat: .* can't be read: expected a number"),
        (
            lambda d: d["thread"]["0"].update(min="-"),
            "oslat: .* can't be read: expected a whole number, got '-'",
        ),
        (lambda d: d["thread"]["0"].update(cpu=-1), "oslat: .* of 0 or more, got -1"),
        (lambda d: d["thread"]["0"].update(histogram={}), "oslat: histogram and maximum"),
        (lambda d: d["thread"]["0"]["histogram"].update({"9": -5}), "oslat: no histogram"),
        (lambda d: d["thread"]["0"].pop("duration"), "lacks 'duration'"),
        (lambda d: d.update(num_threads=0), "oslat: no results"),
    ],
)
def test_busy_loop_of_figures_that_are_none_is_no_result(change, words: str) -> None:
    with pytest.raises(ToolFailed, match=words):
        oslat.parse(changed("oslat/rt-tests-2.4.json", change), buckets=1024)


def test_gaps_of_the_hardware_are_read() -> None:
    found = hwlatdetect.parse(recorded("hwlatdetect/rt-tests-2.4-gaps.txt"))
    assert (found.gaps, found.max_us, found.smis) == (2, 16, None)
    assert (found.threshold_us, found.window_us, found.width_us) == (10, 1_000_000, 500_000)


def test_no_gap_above_the_threshold_is_no_gap_of_length_nothing() -> None:
    found = hwlatdetect.parse(recorded("hwlatdetect/rt-tests-2.4-none.txt"))
    assert (found.gaps, found.max_us) == (0, None)


def test_smis_are_read_where_they_are_counted() -> None:
    text = recorded("hwlatdetect/rt-tests-2.4-gaps.txt") + "SMIs during run: 3\n"
    assert hwlatdetect.parse(text).smis == 3


@pytest.mark.parametrize(
    "text",
    [
        recorded("hwlatdetect/no-tracer.txt"),
        recorded("hwlatdetect/rt-tests-2.4-gaps.txt").replace("recorded: 2", "recorded: 0"),
        recorded("hwlatdetect/rt-tests-2.4-gaps.txt").replace("Max Latency: 16us", ""),
    ],
)
def test_hwlatdetect_that_did_not_finish_or_disagrees_with_itself_has_no_result(text: str) -> None:
    with pytest.raises(ToolFailed):
        hwlatdetect.parse(text)


def test_a_tracer_in_use_is_left_alone(on_path: Path, tracing: Path) -> None:
    (tracing / "current_tracer").write_text("function\n")
    with pytest.raises(EnvironmentBroken, match="tracer function is in use"):
        hwlatdetect.measure(hwlatdetect.Hwlatdetect(duration_s=1), tracing=tracing)
    assert (tracing / "tracing_on").read_text().strip() == "1"


def test_no_tracing_is_reported_with_the_fix(on_path: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentBroken, match=r"No such file[^\n]*\n.*mount -t debugfs"):
        hwlatdetect.measure(hwlatdetect.Hwlatdetect(duration_s=1), tracing=tmp_path / "none")


TIMERLAT = """\
# RTLA timerlat histogram
# Time unit is microseconds (us)
# Duration:   0 00:00:02
Index   IRQ-000   Thr-000   IRQ-002   Thr-002
0          1900         0      1850         0
1            98       700       140       300
7             2      1290         9      1690
31            0         9         1         8
over:         0         1         0         2
count:     2000      2000      2000      2000
min:          0         1         0         1
avg:          0         5         0         6
max:          7       310        31       402
"""
"""Made by hand in the format of rtla 6.1: no kernel at hand had the tracer."""


def test_timerlat_is_read_by_core_and_context_with_what_its_histogram_does_not_reach() -> None:
    columns = rtla.parse(TIMERLAT)
    assert [(c.core, c.context) for c in columns] == [(0, "irq"), (0, "thread"), (2, "irq"), (2, "thread")]
    thread = columns[3]
    assert (thread.counted, thread.beyond, thread.max_us) == (2000, 2, 402)
    assert thread.bins_us == {1: 300, 7: 1690, 31: 8}


@pytest.mark.parametrize(
    "text",
    [
        recorded("rtla/6.1-no-tracer.txt"),
        TIMERLAT.replace("1290", "1289"),
        "\n".join(line for line in TIMERLAT.splitlines() if not line.startswith("max")),
        TIMERLAT.replace("microseconds (us)", "nanoseconds (ns)").replace("us", "ns"),
    ],
)
def test_timerlat_that_says_other_things_is_no_result(text: str) -> None:
    with pytest.raises(ToolFailed):
        rtla.parse(text)


NOTHING_TRACED = {
    # From rtla 6.10 on, and before: ~0 for a minimum, and a mean of nothing.
    "-": ("-", "-", "-"),
    "all ones": ("18446744073709551615", "18446744073709551615", "0"),
    "zeros": ("0", "0", "0"),
}


@pytest.mark.parametrize("kind", NOTHING_TRACED)
def test_core_where_no_thread_was_traced_has_no_figures(kind: str) -> None:
    low, mean, high = NOTHING_TRACED[kind]
    columns = rtla.parse(
        f"""\
# Time unit is microseconds (us)
Index   IRQ-000   Thr-000   IRQ-002   Thr-002
1          2000      2000         5         0
over:         0         0         0         0
count:     2000      2000         5         0
min:          1         1         1 {low:>9}
avg:          1         1         1 {mean:>9}
max:          1         1         1 {high:>9}
"""
    )

    silent = columns[3]
    assert (silent.core, silent.context, silent.counted) == (2, "thread", 0)
    assert (silent.min_us, silent.mean_us, silent.max_us, silent.bins_us) == (None, None, None, {})
    assert [c.max_us for c in columns[:3]] == [1, 1, 1]


def test_histogram_of_no_core_has_no_columns() -> None:
    text = "# Time unit is microseconds (us)\nIndex\nover:\ncount:\nmin:\navg:\nmax:\n"

    assert rtla.parse(text) == ()


def test_sums_over_all_cores_are_not_taken_for_the_one_that_was_measured() -> None:
    one_core = "Index IRQ-000 Thr-000\n1 2 2\nover: 0 0\ncount: 2 2\nmin: 1 1\navg: 1 1\nmax: 1 1\n"
    everything = "ALL: IRQ Thr\ncount: 9 9\nmin: 0 0\navg: 0 0\nmax: 9 9\n"
    text = f"# Time unit is microseconds (us)\n{one_core}{everything}"

    assert [(c.counted, c.max_us) for c in rtla.parse(text)] == [(2, 1), (2, 1)]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "max:          7       310        31         -",
            "Thr-002 can't be read: expected a whole number, got '-'",
        ),
        ("max:          7        -3        31       402", "Thr-000 can't be read: .* 0 or more, got '-3'"),
        (
            "max:          7       310        31         5",
            "Thr-002 has a maximum of 5 us, its histogram 31 us",
        ),
        ("avg:          0       nan         0         6", "Thr-000 can't be read: .* got 'nan'"),
        ("count:     2000         -      2000      2000", "Thr-000 can't be read"),
    ],
)
def test_figure_that_is_none_beside_samples_is_no_result(row: str, words: str) -> None:
    name = row.split()[0]
    text = "\n".join(row if line.startswith(name) else line for line in TIMERLAT.splitlines())

    with pytest.raises(ToolFailed, match=words):
        rtla.parse(text)


def test_rtla_is_started_as_it_says(on_path: Path) -> None:
    argv = rtla.Timerlat(cores=(1, 2), duration_s=5, period_us=1000).argv()
    assert argv[1:3] == ["timerlat", "hist"]
    assert argv[argv.index("--cpus") + 1] == "1,2"
    assert argv[argv.index("--priority") + 1] == "f:95"
