"""Workers of pytest-xdist measure simulated labs side by side: one run, one closing line, no result lost."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from labkit.record.load import load

NOISY = """
description: most trials lose frames whatever the load
tier: simulated
backends: [kernel]
simulation:
  kernel: {capacity: 100 kpps, noise: 2 %, lossy_trials: 60 %, buffer_frames: 0}
"""
TESTS = """
import pytest

@pytest.mark.dpdk
@pytest.mark.on(topology="a.yml")
def test_a(measure, target):
    target(measure.throughput(), pdr=">= 1 Mpps")

@pytest.mark.dpdk
@pytest.mark.on(topology="b.yml")
def test_b(measure, target):
    target(measure.mrr(), mrr="BOUND")

def test_plain():
    pass
"""
SKIPPED = """
import pytest

@pytest.mark.dpdk
@pytest.mark.on(topology="a.yml")
@pytest.mark.skip(reason="no time")
def test_mine(measure):
    measure.mrr()
"""
KILLS = """
import os, signal, time
import pytest

pytestmark = [pytest.mark.dpdk, pytest.mark.on(topology="a.yml")]

def test_first(measure):
    measure.mrr()

def test_kills(measure):
    measure.mrr()
    os.kill(os.WHOM(), signal.SIGKILL)
    time.sleep(60)

def test_last(measure, target):
    target(measure.throughput(), pdr=">= 1 Mpps")
"""


@pytest.fixture
def labs(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\naddopts = -n2 --labkit-quick -p no:cacheprovider\n")
    sim = (Path(__file__).parents[2] / "topologies" / "sim.yml").read_text()
    for name in "ab":
        (pytester.path / f"{name}.yml").write_text(sim)
    (pytester.path / "noisy.yml").write_text(NOISY)
    return pytester


def folder(labs: pytest.Pytester) -> Path:
    (found,) = (labs.path / "results").iterdir()
    return found


def results(labs: pytest.Pytester) -> dict:
    return json.loads((folder(labs) / "results.json").read_text())


def rows(run: dict) -> list[tuple[str, str]]:
    return sorted((m["key"]["topology"], m["kind"]) for m in run["measurements"])


def test_labs_are_measured_side_by_side_into_one_run_with_one_closing_line(labs: pytest.Pytester) -> None:
    labs.makepyfile(TESTS.replace("BOUND", ">= 1 Mpps"))
    result = labs.runpytest_subprocess("-v", "--labkit-junit", "--labkit-seed=7")
    result.assert_outcomes(passed=3)
    run = results(labs)
    assert rows(run) == [("a", "mrr"), ("a", "throughput"), ("b", "mrr")]
    assert sorted(v["test"].partition("::")[2] for v in run["verdicts"]) == [
        "test_a[dpdk-a-64]",
        "test_b[dpdk-b-64]",
    ]
    assert run["end"]["state"] == "finished"
    assert run["start"]["seed"] == 7
    assert "--labkit-seed=7" in run["start"]["command"]
    assert {one["name"] for one in run["environment"]["topologies"]} == {"a", "b"}
    assert [line for line in result.outlines if line.startswith("tests:")] == [
        "tests:   2 passed, 0 failed, 0 skipped, 0 invalid"
    ]
    lines = [line for line in result.outlines if "labkit: " in line]
    assert all(line.startswith("labkit: 1 of 1 on ") for line in lines), lines
    assert {"labkit: 1 of 1 on a: dpdk-a-64: mrr", "labkit: 1 of 1 on b: dpdk-b-64: mrr"} <= set(lines)
    assert "labkit: " not in result.stderr.str()
    workers = dict(re.findall(r"\[(gw\d)\] .*::test_([ab])\[", result.stdout.str()))
    assert sorted(workers.values()) == ["a", "b"]
    cases = ElementTree.parse(folder(labs) / "junit.xml").iter("testcase")
    assert len(list(cases)) == 3
    assert (folder(labs) / "report.html").is_file()


@pytest.mark.parametrize(
    ("tests", "arguments", "code", "says"),
    [
        (TESTS.replace("BOUND", ">= 90 Gpps"), [], 1, "*mrr >= 90 Gpps: *"),
        (SKIPPED, [], 5, "*nothing was measured: 1 test was skipped*"),
        (
            SKIPPED,
            ["--labkit-require=dpdk"],
            1,
            "*dpdk is required (--labkit-require), and skipped: no time*",
        ),
        (SKIPPED, ["--labkit-require=kernel"], 1, "*kernel is required*, but no test of it was selected*"),
        (TESTS, ["--dist=each"], 4, "*--dist each would measure each lab once a worker*"),
        (TESTS.replace("test_plain()", "test_plain(nix)"), ["--topology=a.yml"], 1, "*deselected: *test_b*"),
        (TESTS, ["broken.py"], 2, "*1 error during collection*"),
    ],
)
def test_the_exit_code_is_that_of_one_process(
    labs: pytest.Pytester, tests: str, arguments: list[str], code: int, says: str
) -> None:
    labs.makepyfile(broken="import nix_such", test_it=tests.replace("BOUND", ">= 1 Mpps"))
    result = labs.runpytest_subprocess("-rs", "test_it.py", *arguments)
    assert result.ret == code
    pytest.LineMatcher([*result.outlines, *result.errlines]).fnmatch_lines([says])


def test_what_does_not_measure_is_scheduled_as_ever_and_leaves_no_run(labs: pytest.Pytester) -> None:
    labs.makepyfile(TESTS)
    labs.runpytest_subprocess("-k", "plain").assert_outcomes(passed=1)
    assert not (labs.path / "results").exists()


def test_a_worker_repeats_what_was_invalid_and_the_last_line_counts_it_once(labs: pytest.Pytester) -> None:
    labs.makepyfile(
        TESTS.replace("BOUND", ">= 1 Mpps")
        + '\n@pytest.mark.kernel\n@pytest.mark.on(topology="noisy.yml")\n'
        + "def test_ndr(measure, target):\n    target(measure.throughput(), ndr='>= 1 kpps')\n"
        + '\n@pytest.mark.kernel\n@pytest.mark.on(topology="noisy.yml")\n'
        + "def test_then(measure, target):\n    target(measure.mrr(), mrr='>= 1 kpps')\n"
    )
    result = labs.runpytest_subprocess("-v", "--labkit-seed=1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*INVALID, will be repeated*test_ndr*", "*] INVALID *test_ndr*"])
    last = result.outlines[-1]
    assert last.startswith("labkit: 1 test is invalid after 6 attempts ("), last
    assert last.endswith("stability-ndr); repeat the run when the machine is idle")
    run = results(labs)
    assert sorted(v["outcome"] for v in run["verdicts"]) == ["invalid", "pass", "pass", "pass"]
    assert len(run["former_verdicts"]) == 5


def test_a_killed_worker_loses_no_result_and_another_goes_on_without_measuring_it_again(
    labs: pytest.Pytester,
) -> None:
    labs.makepyfile(KILLS.replace("WHOM", "getpid"))
    result = labs.runpytest_subprocess("-v")
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=1)
    run = results(labs)
    assert rows(run) == [("a", "mrr"), ("a", "throughput")]
    assert [m["attempt"] for m in run["measurements"]] == [1, 1]
    (crashed,) = (v for v in run["verdicts"] if "test_kills" in v["test"])
    assert "crashed while running" in crashed["reason"]
    assert "tests:   2 passed, 1 failed, 0 skipped, 0 invalid" in result.outlines


def test_a_test_whose_worker_is_killed_while_it_is_repeated_does_not_end_well(labs: pytest.Pytester) -> None:
    labs.makepyfile(
        """
        import os, signal
        from pathlib import Path
        import pytest

        @pytest.mark.kernel
        @pytest.mark.on(topology="noisy.yml")
        def test_ndr(measure, target):
            if Path("again").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            Path("again").touch()
            target(measure.throughput(), ndr=">= 1 kpps")
        """
    )
    result = labs.runpytest_subprocess("-v", "--labkit-seed=1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["labkit: *test_ndr* was to be repeated, and its worker was killed"])
    assert [v["outcome"] for v in results(labs)["verdicts"]] == ["invalid"]


def test_a_killed_controller_loses_no_result_and_its_workers_end(labs: pytest.Pytester) -> None:
    labs.makepyfile(KILLS.replace("os.WHOM()", "controller()") + CONTROLLER)
    result = labs.runpytest_subprocess("-v")
    assert result.ret == -9
    run = load(folder(labs))
    assert [m.kind for m in run.measurements] == ["mrr"]
    assert run.state == "interrupted"
    worker, killed_s = (labs.path / "worker").read_text().split()
    while Path(f"/proc/{worker}").exists():
        # half of what the test sleeps; xdist ends its worker at once, at a moment when the worker can do nothing more
        assert time.monotonic() - float(killed_s) < 30, (
            "it measured on, on a machine that nobody had reserved for it any more"
        )
        time.sleep(0.1)
    assert len(load(folder(labs)).measurements) == 1


CONTROLLER = """
def controller():
    with open("worker", "w") as file:
        file.write(f"{os.getpid()} {time.monotonic()}")
    return os.getppid()
"""
