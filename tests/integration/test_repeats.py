"""Tests that come out invalid are run again when the others are over, and pytest hears of each once."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from labkit.progress import Silent
from labkit.record.model import Outcome
from labkit.session.datapaths import default_datapath
from labkit.session.preflight import load_all
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec

NOISY = """
description: some 4 of 10 trials lose frames whatever the load
tier: simulated
backends: [kernel]
simulation:
  kernel: {capacity: 100 kpps, noise: 2 %, lossy_trials: LOSSY, buffer_frames: 0}
"""
SUITE = """
import pytest

@pytest.mark.kernel
def test_ndr(measure, target):
    target(measure.throughput(), ndr=">= 1 kpps")

@pytest.mark.kernel
def test_mrr(measure, target):
    target(measure.mrr(), mrr=">= 1 kpps")
"""

BROKEN = """
@pytest.fixture
def broken():
    yield
    raise RuntimeError("teardown")

@pytest.mark.kernel
def test_both(broken, measure, target):
    target(measure.throughput(frame_size_bytes=SIZE), ndr=">= 1 kpps")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(
        "[pytest]\naddopts = --topology=noisy.yml --labkit-quick --labkit-junit -p no:cacheprovider"
    )
    pytester.makepyfile(SUITE)
    (pytester.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "38 %"))
    return pytester


def seed_that_needs(attempts: int, folder: Path) -> int:
    """A seed with which the search is invalid so often, then valid."""
    datapath = default_datapath("kernel", load_all([folder / "noisy.yml"]))
    for seed in range(1, 60):
        with Session(Settings(store=False, quick=True, seed=seed), progress=Silent()) as one:
            for attempt in range(1, attempts + 1):
                measured = one.measure.throughput(datapath, frame_spec("64"))
                (verdict,) = one.judge.by_bounds("t", measured, {"ndr": ">= 1 kpps"})
                if (verdict.outcome is Outcome.INVALID) is not (attempt < attempts):
                    break
                one.recorder.repeat("t")
            else:
                return seed
    raise AssertionError("no such seed")


def run(pytester: pytest.Pytester, *arguments: str) -> tuple[pytest.RunResult, dict, ElementTree.Element]:
    result = pytester.runpytest_inprocess(*arguments)
    (folder,) = (pytester.path / "results").iterdir()
    return (
        result,
        json.loads((folder / "results.json").read_text()),
        ElementTree.parse(folder / "junit.xml").getroot(),
    )


def test_what_came_out_invalid_is_measured_again_after_the_others(suite: pytest.Pytester) -> None:
    seed = seed_that_needs(2, suite.path)
    result, stored, junit = run(suite, f"--labkit-seed={seed}", "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*test_ndr?kernel-noisy-64? INVALID, will be repeated*",
            "*test_mrr?kernel-noisy-64? PASSED*",
            "*test_ndr?kernel-noisy-64? PASSED*",
            "measured again, the last attempt counts: kernel on noisy, 64 B, *, 2nd attempt",
        ]
    )
    assert [(v["outcome"], v["attempt"]) for v in stored["verdicts"]] == [("pass", 1), ("pass", 2)]
    assert [(v["outcome"], v["attempt"]) for v in stored["former_verdicts"]] == [("invalid", 1)]
    assert [m["attempt"] for m in stored["former_measurements"]] == [1]
    cases = [case for case in junit.iter("testcase") if case.get("name", "").startswith("test_ndr")]
    assert len(cases) == 1
    assert [child.tag for child in cases[0]] == ["properties"]
    assert stored["environment"]["parameters"]["retry_budget_s"] == 90


def test_without_a_budget_nothing_is_measured_again(suite: pytest.Pytester) -> None:
    seed = seed_that_needs(2, suite.path)
    result, stored, _ = run(suite, f"--labkit-seed={seed}", "--labkit-retry=0")
    assert result.ret == 1
    assert stored["former_measurements"] == []
    result.stdout.fnmatch_lines(["labkit: 1 test is invalid (*stability-ndr); repeat the run*"])


def test_what_stays_invalid_is_counted_once_and_named_in_the_last_line(suite: pytest.Pytester) -> None:
    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "60 %"))
    result, stored, junit = run(suite, "--labkit-seed=1")
    assert result.ret == 1
    assert [v["outcome"] for v in stored["verdicts"]] == ["pass", "invalid"]
    assert len(stored["former_verdicts"]) == 5
    assert [suite_.get("failures") for suite_ in junit.iter("testsuite")] == ["1"]
    last = result.stdout.lines[-1]
    assert last.startswith("labkit: 1 test is invalid after 6 attempts (")
    assert last.endswith("stability-ndr); repeat the run when the machine is idle")


def test_a_run_that_is_stopped_reports_what_it_withheld(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        SUITE + "\n\n@pytest.mark.kernel\ndef test_stop(measure):\n    raise KeyboardInterrupt\n"
    )
    seed = seed_that_needs(2, suite.path)
    result = suite.runpytest_subprocess(f"--labkit-seed={seed}")
    (folder,) = (suite.path / "results").iterdir()
    stored = json.loads((folder / "results.json").read_text())
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*1 invalid*"])
    assert [v["outcome"] for v in stored["verdicts"]] == ["invalid", "pass"]


def test_a_failure_beside_it_is_no_reason_to_measure_again(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUITE + BROKEN.replace("SIZE", "64"))
    seed = seed_that_needs(2, suite.path)
    result, stored, _ = run(suite, f"--labkit-seed={seed}", "-k", "test_both")
    assert result.ret == 1
    assert stored["former_measurements"] == []
    result.stdout.fnmatch_lines(["*RuntimeError: teardown*"])


def test_a_time_that_is_none_is_bad_input(suite: pytest.Pytester) -> None:
    for option in ("--labkit-retry", "--labkit-wait"):
        result = suite.runpytest_inprocess(f"{option}=soon")
        assert result.ret == 4
        result.stderr.fnmatch_lines([f"*{option} 'soon': expected a time such as '90s'*"])


def test_a_fixture_that_judges_is_repeated_with_its_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.fixture
        def rates(measure, target):
            found = measure.throughput()
            target(found, ndr=">= 1 kpps")
            return found

        @pytest.mark.kernel
        def test_ndr(rates):
            assert rates.throughput

        @pytest.mark.kernel
        def test_after(measure, target):
            target(measure.mrr(), mrr=">= 1 kpps")
        """
    )
    seed = seed_that_needs(2, suite.path)
    result, stored, _ = run(suite, f"--labkit-seed={seed}", "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*test_ndr* INVALID, will be repeated*", "*test_after* PASSED*"])
    assert [(v["outcome"], v["attempt"]) for v in stored["verdicts"]] == [("pass", 1), ("pass", 2)]


def test_without_a_target_an_invalid_measurement_is_repeated_and_ends_no_run_green(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.kernel
        def test_my_own(measure):
            assert measure.throughput().throughput
        """
    )
    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "100 %"))
    result, stored, _ = run(suite, "--labkit-seed=1")
    assert result.ret == 1
    result.assert_outcomes()  # neither passed nor failed
    result.stdout.fnmatch_lines(["*test_my_own*: INVALID: measured: gate stability: *", "*1 invalid*"])
    assert [(v["outcome"], v["attempt"]) for v in stored["verdicts"]] == [("invalid", 6)]
    result, stored, _ = run(suite, "--labkit-seed=1", "--labkit-allow-invalid", "--labkit-results=allowed")
    assert result.ret == 0


def test_what_a_test_measured_beside_its_target_is_repeated_and_ends_no_run_green(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.kernel
        def test_both(measure, target):
            measure.throughput()
            target(measure.mrr(), mrr=">= 1 kpps")
        """
    )
    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "100 %"))
    result, stored, _ = run(suite, "--labkit-seed=1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*test_both*: INVALID: measured: gate stability: *", "*1 invalid*"])
    assert [(v["outcome"], v["attempt"]) for v in stored["verdicts"]][-2:] == [("pass", 6), ("invalid", 6)]


SUBTESTS = """
import pytest

@pytest.mark.kernel
def test_parts(measure, target, subtests):
    with subtests.test("rate"):
        target(measure.throughput(), ndr=">= 1 kpps")
    with subtests.test("burst"):
        target(measure.mrr(), mrr="MRR")
"""
has_subtests = pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="pytest 9 has subtests")


@has_subtests
def test_an_invalid_subtest_makes_its_test_invalid_and_is_measured_again(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUBTESTS.replace("MRR", ">= 1 kpps"))
    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "100 %"))
    result, stored, _ = run(suite, "--labkit-seed=1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*test_parts*: INVALID: *gate stability: *", "*1 invalid*"])
    assert "failed" not in result.outlines[-2] + result.outlines[-1]
    assert {(v["outcome"], v["attempt"]) for v in stored["verdicts"]} == {("invalid", 6), ("pass", 6)}

    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "38 %"))
    seed = seed_that_needs(2, suite.path)
    result = suite.runpytest_inprocess(f"--labkit-seed={seed}", "--labkit-results=later")
    assert result.ret == 0, "the second attempt was valid"
    result.assert_outcomes(passed=1)


@has_subtests
def test_a_subtest_that_misses_its_target_fails_its_test_at_once(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUBTESTS.replace("MRR", ">= 1 Gpps"))
    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "100 %"))
    result, stored, _ = run(suite, "--labkit-seed=1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*contains 1 failed subtest*"])
    assert {(v["outcome"], v["attempt"]) for v in stored["verdicts"]} == {("invalid", 1), ("fail", 1)}


SLOW = """
import time
from labkit.session import testbed

measure = testbed.SimulatedTestbed.measure

def slow(self, **arguments):  # as on a machine: a simulated trial takes no time
    time.sleep(0.005)
    return measure(self, **arguments)

testbed.SimulatedTestbed.measure = slow
"""


@pytest.mark.parametrize("budget_s", [4, 6])
def test_a_repeat_that_no_longer_fits_leaves_no_fixture_to_the_next(
    suite: pytest.Pytester, budget_s: int
) -> None:
    suite.makeconftest(SLOW)
    for name in ("a", "b"):
        suite.makepyfile(
            **{
                f"test_{name}": """
                import pytest

                @pytest.fixture(scope="module")
                def of_module():
                    yield 1

                @pytest.mark.kernel
                @pytest.mark.parametrize("size", [64, 128])
                def test_ndr(measure, target, of_module, size):
                    target(measure.throughput(frame_size_bytes=size), ndr=">= 1 kpps")
                """
            }
        )
    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "100 %"))
    result = suite.runpytest_inprocess(
        "--labkit-seed=1", f"--labkit-retry={budget_s}s", "test_a.py", "test_b.py"
    )
    assert "not torn down" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*4 invalid*"])


def test_another_plugin_wraps_a_further_attempt_as_the_first(suite: pytest.Pytester) -> None:
    suite.makeconftest(
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(item, nextitem):
            print("WRAPPED", item.name)
            return (yield)
        """
    )
    seed = seed_that_needs(2, suite.path)
    result, _, junit = run(suite, f"--labkit-seed={seed}", "-s", "-k", "test_ndr")
    assert result.ret == 0
    assert result.stdout.str().count("WRAPPED test_ndr") == 2
    assert [suite_.get("tests") for suite_ in junit.iter("testsuite")] == ["1"]


def test_the_last_line_is_there_without_pytests_terminal(suite: pytest.Pytester) -> None:
    seed = seed_that_needs(2, suite.path)
    result = suite.runpytest_subprocess(f"--labkit-seed={seed}", "--labkit-retry=0", "-p", "no:terminal")
    assert result.ret == 1
    assert "Traceback" not in result.stderr.str()
    result.stderr.fnmatch_lines(["labkit: 1 test is invalid (*"])


def test_a_repeat_that_is_interrupted_keeps_the_reason_of_the_attempt_before(suite: pytest.Pytester) -> None:
    suite.makeconftest(
        """
        from labkit.session import session

        def interrupted(*_):
            raise KeyboardInterrupt

        session.Session.repeat, begin = interrupted, session.Session.repeat
        """
    )
    seed = seed_that_needs(2, suite.path)
    result = suite.runpytest_subprocess(f"--labkit-seed={seed}")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["labkit: 1 test is invalid (*stability-ndr); repeat the run*"])


def test_the_number_of_attempts_is_that_of_the_invalid_tests(suite: pytest.Pytester) -> None:
    """One is repeated to the end and the other not at all, since it failed besides."""
    suite.makepyfile(SUITE + BROKEN.replace("SIZE", "128"))
    (suite.path / "noisy.yml").write_text(NOISY.replace("LOSSY", "100 %"))
    result, _, _ = run(suite, "--labkit-seed=1")
    assert result.stdout.lines[-1].startswith("labkit: 2 tests are invalid after up to 6 attempts (")


def test_a_stall_under_which_a_bound_was_met_is_repeated_and_said_so(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.kernel
        def test_time(measure, target):
            target(measure.latency("80 kpps"), p99="<= 1 s")
        """
    )
    (suite.path / "noisy.yml").write_text(
        "description: it always stalls\ntier: simulated\nbackends: [kernel]\n"
        "simulation:\n  kernel: {capacity: 100 kpps, stalled_trials: 100 %}\n"
    )
    result, stored, _ = run(suite, "--labkit-seed=1", "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*test_time* DISTURBED, will be repeated*",
            "*1 test is disturbed (the tester stalled): repeating, for up to 90 s*",
            "*test_time* PASSED*",
        ]
    )
    assert [(v["outcome"], v["attempt"]) for v in stored["verdicts"]] == [("pass", 6)]


def test_measure_by_getfixturevalue_is_answered_with_what_to_do(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.kernel
        def test_it(request):
            request.getfixturevalue("measure")
        """
    )
    result = suite.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*measure is asked for by getfixturevalue: name it as an argument*"])
