"""The plugin, tried from outside on the simulated lab: no privileges, no packets."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.harness.pace import Pace

CYCLICTEST = Path(__file__).parents[1] / "unit/data/cyclictest/rt-tests-2.4.json"
TEST_OF_ONES_OWN = """
import pytest

@pytest.mark.dpdk
def test_mine(measure, target):
    target(measure.throughput(frame_size_bytes=64), pdr="{bound}")

@pytest.mark.dpdk
def test_latency(measure, target):
    target(measure.latency(load="50% PDR"), p99="<= 1 ms")
"""


@pytest.fixture
def lab(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\naddopts = --topology=sim -p no:cacheprovider")
    return pytester


def results(pytester: pytest.Pytester) -> dict:
    (folder,) = (pytester.path / "results").iterdir()
    return json.loads((folder / "results.json").read_text())


def test_a_test_of_ones_own_passes_and_leaves_results_and_report(lab: pytest.Pytester) -> None:
    lab.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 1 Mpps"))
    result = lab.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_mine?dpdk-sim-64? PASSED*", "*test_latency?dpdk-sim-64? PASSED*"])
    run = results(lab)
    assert [v["outcome"] for v in run["verdicts"]] == ["pass", "pass"]
    assert {m["kind"] for m in run["measurements"]} == {"mrr", "throughput", "latency"}
    (folder,) = (lab.path / "results").iterdir()
    assert "<html" in (folder / "report.html").read_text()


def test_frames_that_a_link_does_not_carry_are_left_out_where_a_test_runs_everywhere(
    lab: pytest.Pytester,
) -> None:
    """Of all datapaths with all sizes some don't fit; a test that asks for a size itself is wrong."""
    lab.makepyfile(
        "import pytest\n\n@pytest.mark.datapaths(frames=('64', '9100'))\ndef test_mine(measure):\n    measure.mrr()\n"
        "\n@pytest.mark.dpdk\n@pytest.mark.on(frame='9100')\ndef test_asks(measure):\n    measure.mrr()\n"
    )
    result = lab.runpytest_subprocess("-rs", "-k", "dpdk")
    result.assert_outcomes(passed=1, skipped=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*frame size 9100: expected at most 9018 bytes*fix: smaller frames, or *mtu: 9082 B*"]
    )
    skips = [v for v in results(lab)["verdicts"] if v["outcome"] == "skip"]
    assert [v["key"]["frame"] for v in skips] == ["9100"]


def test_a_missed_target_fails_and_says_what_was_measured(lab: pytest.Pytester) -> None:
    lab.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 12 Mpps"))
    result = lab.runpytest_subprocess("-k", "test_mine")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pdr >= 12 Mpps: * Mpps*"])
    assert result.ret == 1
    (verdict,) = results(lab)["verdicts"]
    assert verdict["outcome"] == "fail"
    assert 8e6 < verdict["value"] < 10e6


def test_an_invalid_measurement_is_counted_apart_and_fails_the_run(lab: pytest.Pytester) -> None:
    lab.makepyfile(
        """
        import pytest

        @pytest.mark.dpdk
        def test_p9999_of_few_samples(measure, target):
            target(measure.latency(load="idle"), p9999="<= 1 s")
        """
    )
    result = lab.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*too few samples*", "*1 invalid*"])
    assert result.ret == 1
    allowed = lab.runpytest_subprocess("--labkit-allow-invalid")
    allowed.stdout.fnmatch_lines(["*1 invalid*"])
    assert allowed.ret == 0


def test_markers_choose_backend_and_kind(lab: pytest.Pytester) -> None:
    suite = Path(__file__).parents[1] / "perf"
    result = lab.runpytest_subprocess(
        str(suite), "--topology=sim", "--collect-only", "-q", "-m", "af_xdp and latency"
    )
    result.stdout.fnmatch_lines(["*::test_latency?af_xdp-sim-64?"])
    result.stdout.no_fnmatch_line("*throughput*")
    result.stdout.no_fnmatch_line("*kernel*")


def test_ids_name_backend_mode_topology_and_frame(pytester: pytest.Pytester) -> None:
    suite = Path(__file__).parents[1] / "perf"
    result = pytester.runpytest_subprocess(
        str(suite), "--collect-only", "-q", "-m", "throughput and not slow"
    )
    result.stdout.fnmatch_lines(
        [
            "*::test_throughput?kernel-veth-64?",
            "*::test_throughput?af_packet-veth-64?",
            "*::test_throughput?xdp-veth-64?",
            "*::test_throughput?af_xdp-veth-64?",
            "*::test_throughput?af_xdp-busy_poll-veth-64?",
            "*::test_throughput?dpdk-net_af_xdp-veth-64?",
            "*::test_throughput?dpdk-net_af_packet-veth-64?",
            "*::test_throughput?dpdk-vhost-64?",
            "*::test_throughput?dpdk-memif-64?",
        ]
    )


FAKE_CYCLICTEST = """#!/bin/sh
# Replays a recorded run: no thread of it was ever scheduled, and that has to be found out.
for word in "$@"; do
    case $word in --json=*) cat {recorded} > "${{word#--json=}}" ;; esac
done
"""


@pytest.fixture
def replayed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A cyclictest on PATH that replays recorded output; no doctor, who would need a namespace, is asked."""
    program = pytester.mkdir("bin") / "cyclictest"
    recorded = CYCLICTEST
    program.write_text(FAKE_CYCLICTEST.format(recorded=recorded))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    pytester.makeconftest(
        "from labkit.session.session import Session\nSession.lacking_checks = lambda *_: ()"
    )
    return pytester


WAKEUP = """
import pytest

@pytest.mark.lowlatency
def test_wakeup(measure, target):
    target(measure.wakeup({arguments}), wakeup_max="<= 10 s")
"""


def test_wakeups_of_the_host_are_measured_stored_and_not_believed_without_proof(
    replayed: pytest.Pytester,
) -> None:
    core = min(os.sched_getaffinity(0))
    replayed.makepyfile(WAKEUP.format(arguments=f'duration="1 s", cores="{core}"'))
    result = replayed.runpytest_subprocess("-m", "lowlatency", "-v")
    result.stdout.fnmatch_lines(["*test_wakeup?lowlatency-veth?*INVALID*", "*gate proof: not proven*"])
    run = results(replayed)
    (measurement,) = run["measurements"]
    assert (measurement["kind"], measurement["key"]["kind"]) == ("wakeup", "wakeup")
    recorded = json.loads(CYCLICTEST.read_text())
    assert [core["max_us"] for core in measurement["wakeup"]["cores"]] == [
        recorded["thread"][i]["max"] for i in ("0", "1")
    ]
    (folder,) = (replayed.path / "results").iterdir()
    assert "wake-up" in (folder / "report.html").read_text()


def test_what_cannot_be_measured_of_the_host_is_refused_by_name(replayed: pytest.Pytester) -> None:
    said = {
        'cores="4095"': "cores 4095: not available here",
        'cores="one"': "expected a list such as",
        'duration="1.5 s"': "expected a whole number of s",
        'duration="1 Mpps"': "expected a number with one of the units",
        'interval="10 us"': "expected 50 us to 1000000 us",
        'duration="100000 s"': "expected 1 s to 86400 s",
    }
    # In one run, for a run takes seconds.
    replayed.makepyfile(**{f"test_{i}": WAKEUP.format(arguments=one) for i, one in enumerate(said)})
    result = replayed.runpytest_subprocess("-m", "lowlatency")
    result.assert_outcomes(failed=len(said))
    for words in said.values():
        result.stdout.fnmatch_lines([f"*ConfigInvalid: *{words}*"])
    assert not (replayed.path / "results").exists()


def test_a_simulated_lab_has_no_host_and_a_machine_without_the_tool_skips_with_the_command(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(WAKEUP.format(arguments=""))
    result = pytester.runpytest_subprocess("-m", "lowlatency", "--topology=sim", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*every chosen topology is simulated*"])
    lacking = (
        "from labkit.session.session import Session\n"
        'Session.lacking_checks = lambda *_: ("no tool (fix: get it)",)'
    )
    pytester.makeconftest(lacking)
    result = pytester.runpytest_subprocess("-m", "lowlatency", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no tool (fix: get it)*"])
    (verdict,) = results(pytester)["verdicts"]
    assert (verdict["outcome"], verdict["key"]) == ("skip", {"topology": "veth", "kind": "wakeup"})


def test_a_test_of_a_datapath_may_measure_its_host_and_a_test_of_the_host_has_no_datapath(
    replayed: pytest.Pytester,
) -> None:
    replayed.makepyfile(
        """
        import pytest

        @pytest.mark.dpdk
        def test_both(measure):
            with pytest.raises(BaseException, match="simulated: it has no host"):
                measure.wakeup()

        @pytest.mark.lowlatency
        def test_host_only(measure):
            assert not hasattr(measure, "throughput")
        """
    )
    replayed.runpytest_subprocess("--topology=sim", "-k", "both").assert_outcomes(passed=1)
    replayed.runpytest_subprocess("-k", "host_only").assert_outcomes(passed=1)


def test_the_suite_measures_the_host_first_and_the_round_trip_beside_it(pytester: pytest.Pytester) -> None:
    suite = Path(__file__).parents[1] / "perf"
    result = pytester.runpytest_subprocess(
        str(suite), "--collect-only", "-q", "-m", "lowlatency and not slow"
    )
    assert [line.partition("::")[2] for line in result.stdout.lines if "::" in line] == [
        "test_hardware_gaps[lowlatency-veth]",
        "test_wakeup[lowlatency-veth]",
        "test_busy_loop[lowlatency-veth]",
        "test_round_trip_beside_the_wakeup[kernel-veth-64]",
    ]


def test_the_lab_that_declares_hardware_is_whose_host_is_measured(pytester: pytest.Pytester) -> None:
    suite = Path(__file__).parents[1] / "perf"
    veth = (Path(__file__).parents[2] / "topologies" / "veth.yml").read_text()
    (pytester.path / "metal.yml").write_text(veth.replace("tier: software", "tier: hardware"))
    result = pytester.runpytest_subprocess(
        str(suite), "--topology=veth", "--topology=metal.yml", "--collect-only", "-q", "-m", "lowlatency"
    )
    result.stdout.fnmatch_lines(["*test_wakeup?lowlatency-metal?"])


def test_every_backend_has_a_marker_that_explains_it(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--markers")
    for name in (
        "kernel",
        "af_packet",
        "xdp",
        "af_xdp",
        "dpdk",
        "lowlatency",
        "throughput",
        "latency",
        "slow",
    ):
        result.stdout.fnmatch_lines([f"@pytest.mark.{name}: *"])


def test_each_of_our_markers_is_said_to_be_labkits(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_subprocess("--markers").stdout.str()
    for marker in ("on", "datapaths", "loss", "slow", "latency", "lowlatency", "dpdk", "kernel"):
        assert re.search(rf"^@pytest\.mark\.{marker}(\(.*\))?: labkit: ", shown, re.MULTILINE), marker


@pytest.mark.parametrize("how", ["command line", "conftest"])
def test_the_plugin_may_be_named_by_its_module_while_its_entry_point_is_active(
    pytester: pytest.Pytester, how: str
) -> None:
    pytester.makepyfile("import pytest\n\n@pytest.mark.kernel\ndef test_mine(measure):\n    measure.mrr()\n")
    if how == "conftest":
        pytester.makeconftest("pytest_plugins = ['labkit.plugin']")
    named = ["-p", "labkit.plugin"] if how == "command line" else []
    result = pytester.runpytest_subprocess(*named, "--labkit-topology=sim", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_measure_without_a_backend_marker_is_refused(lab: pytest.Pytester) -> None:
    lab.makepyfile("def test_where(measure): measure.mrr()")
    result = lab.runpytest_subprocess()
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*mark it with a backend*"])


def test_trex_on_nics_needs_no_server_here(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\n@pytest.mark.kernel\ndef test_rate(measure, target):\n    target.declared(measure.mrr())\n"
    )
    words = ("--labkit-tester", "trex", "--labkit-topology", "bare-metal", "--collect-only")
    result = pytester.runpytest_subprocess(*words)
    assert result.ret == 0, result.stderr.str()
    result = pytester.runpytest_subprocess(*words[:2], "--labkit-topology", "veth", "--collect-only")
    assert result.ret == 4
    assert "the tester trex needs a TRex server" in result.stderr.str()


def test_an_unknown_topology_is_refused_with_a_suggestion(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 1 Mpps"))
    result = pytester.runpytest_subprocess("--topology=vethh")
    assert result.ret != 0
    output = result.stdout.str() + result.stderr.str()
    assert "no topology is named 'vethh'" in output
    assert "veth" in output


def test_a_dut_that_dies_fails_the_test_and_keeps_what_was_finished(lab: pytest.Pytester) -> None:
    (lab.path / "dying.yml").write_text(
        "description: a DUT that dies\ntier: simulated\nbackends: [dpdk]\n"
        "simulation:\n  dpdk:\n    capacity: 1 Mpps\n    dies_after_trials: 30\n"
    )
    lab.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 1 kpps"))
    result = lab.runpytest_subprocess(
        "--topology=dying.yml", "-k", "test_mine", "-o", "addopts=-p no:cacheprovider"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*simulated DUT died in trial 31*"])
    run = results(lab)
    assert [m["kind"] for m in run["measurements"]] == ["mrr"]
    assert [(v["outcome"], v["target"]) for v in run["verdicts"]] == [("fail", "can be measured")]


LIVELOCK = """description: a DUT that only receives under overload
tier: simulated
backends: [dpdk]
simulation:
  dpdk:
    capacity: 1 Mpps
    livelock: {livelock}
"""


def test_a_dut_in_livelock_is_a_finding_and_its_throughput_is_found_below(lab: pytest.Pytester) -> None:
    (lab.path / "livelock.yml").write_text(LIVELOCK.format(livelock="60 kpps"))
    lab.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 50 kpps"))
    result = lab.runpytest_subprocess(
        "--topology=livelock.yml", "--labkit-quick", "-k", "test_mine", "-o", "addopts=-p no:cacheprovider"
    )
    result.assert_outcomes(passed=1)
    by_kind = {m["kind"]: m for m in results(lab)["measurements"]}
    assert by_kind["mrr"]["mrr"]["median_pps"] == 0
    assert any("receive livelock" in text for text in by_kind["mrr"]["deviations"])
    assert 50e3 <= by_kind["throughput"]["throughput"]["ndr"]["relevant_lower_bound_pps"] <= 60e3


def test_a_path_that_carries_nothing_at_any_load_fails_the_test(lab: pytest.Pytester) -> None:
    (lab.path / "dead.yml").write_text(LIVELOCK.format(livelock="100 pps"))
    lab.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 1 kpps"))
    result = lab.runpytest_subprocess(
        "--topology=dead.yml", "-k", "test_mine", "-o", "addopts=-p no:cacheprovider"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*nothing came back in 10 of 10 trials at full rate, nor at 9000 pps, 6 s later*"]
    )


def test_other_tests_are_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_plain(): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    assert not (pytester.path / "results").exists()
    result.stdout.no_fnmatch_line("*labkit ---*")


@pytest.mark.parametrize(
    ("arguments", "suite"), [(["-m", "dpdk"], True), ([], False), (["tests/perf"], True)]
)
def test_in_a_checkout_the_suite_runs_by_marker_or_path(arguments: list[str], suite: bool) -> None:
    root = Path(__file__).parents[2]
    # Hundreds of tests that take time to import, and are not what is looked for.
    other = [f"--ignore=tests/{folder}" for folder in ("integration", "lab")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            *other,
            *arguments,
        ],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ("test_throughput[dpdk-vhost-64]" in done.stdout) is suite, done.stdout[-2000:] + done.stderr


def test_loads_may_be_shares_of_ndr_and_mrr_and_rates(lab: pytest.Pytester) -> None:
    lab.makepyfile(
        """
        import pytest

        @pytest.mark.dpdk
        def test_loads(measure, target):
            found = measure.latency(load=["20% MRR", "50% NDR", "100 kpps"])
            assert [p.load for p in found.latency.points] == ["20% MRR", "50% NDR", "100 kpps"]
            rates = [p.load_pps for p in found.latency.points]
            assert rates[0] < rates[1] and rates[2] == 100_000
            target(found, p50="<= 1 ms", load="50% NDR")
        """
    )
    lab.runpytest_subprocess().assert_outcomes(passed=1)


ENDINGS = """
import pytest

pytestmark = pytest.mark.dpdk
HOLDS, MISSED = ">= 1 kpps", ">= 1 Gpps"

@pytest.fixture
def leaves_badly():
    yield
    raise OSError("left over")

@pytest.fixture
def never_there():
    raise LookupError("no such fixture data")

@pytest.mark.on(frame=100)
def test_assert(measure, target):
    target(measure.mrr(), mrr=HOLDS)
    assert 1 + 1 == 3, "sums are wrong"

@pytest.mark.on(frame=101)
def test_key_error(measure):
    measure.mrr()
    {}["gone"]

@pytest.mark.on(frame=102)
def test_teardown(leaves_badly, measure, target):
    target(measure.mrr(), mrr=HOLDS)

@pytest.mark.on(frame=103)
def test_setup(never_there, measure):
    measure.mrr()

@pytest.mark.on(frame=104)
def test_bad_bound(measure, target):
    target(measure.mrr(), mrr="fast")

@pytest.mark.on(frame=105)
def test_two_rows(measure, target):
    target(measure.mrr(), mrr=HOLDS)
    target(measure.mrr(frame_size_bytes=106), mrr=HOLDS)
    raise RuntimeError("after both")

@pytest.mark.on(frame=110)
@pytest.mark.xfail(strict=True, reason="one core is too slow")
def test_expected(measure, target):
    target(measure.mrr(), mrr=MISSED)

@pytest.mark.on(frame=111)
@pytest.mark.xfail(strict=True, reason="was slow once")
def test_unexpected(measure, target):
    target(measure.mrr(), mrr=HOLDS)

@pytest.mark.on(frame=112)
@pytest.mark.xfail(reason="was slow once")
def test_better_than_expected(measure, target):
    target(measure.mrr(), mrr=HOLDS)

@pytest.mark.on(frame=120)
def test_skipped_in_the_middle(measure, target):
    target(measure.mrr(), mrr=HOLDS)
    pytest.skip("enough for today")

@pytest.mark.on(frame=121)
@pytest.mark.skip(reason="not on Mondays")
def test_never_run(measure):
    measure.mrr()

@pytest.mark.on(frame=130)
def test_without_a_target(measure):
    assert measure.mrr().mrr.median_pps > 1000

@pytest.mark.on(frame=131)
@pytest.mark.xfail(reason="whatever")
def test_invalid_is_no_expected_failure(measure, target):
    target(measure.latency(load="idle"), p9999="<= 1 s")
"""


def test_the_worst_that_happens_to_a_test_is_its_rows_in_pytest_results_and_counts(
    lab: pytest.Pytester,
) -> None:
    lab.makepyfile(ENDINGS)
    result = lab.runpytest_subprocess("-v", "--labkit-quick")
    result.stdout.fnmatch_lines(
        ["*5 failed, 2 passed, 2 skipped, 1 xfailed, 1 xpassed, 2 errors, 1 invalid*"]
    )
    run = results(lab)
    worst: dict[str, tuple[str, str]] = {}
    for verdict in run["verdicts"]:
        frame, found = verdict["key"]["frame"], (verdict["outcome"], verdict["reason"])
        order = ("pass", "skip", "invalid", "fail")
        if frame not in worst or order.index(found[0]) > order.index(worst[frame][0]):
            worst[frame] = found
    words = {
        "100": ("fail", "AssertionError: sums are wrong"),
        "101": ("fail", "KeyError: 'gone'"),
        "102": ("fail", "teardown: OSError: left over"),
        "103": ("fail", "setup: LookupError: no such fixture data"),
        "104": ("fail", "'fast'"),
        "105": ("fail", "RuntimeError: after both"),
        "106": ("fail", "RuntimeError: after both"),
        "110": ("skip", "expected to fail (one core is too slow): "),
        "111": ("fail", "[XPASS(strict)] was slow once"),
        "112": ("pass", ""),
        "120": ("skip", "enough for today"),
        "121": ("skip", "not on Mondays"),
        "130": ("pass", "no target declared"),
        "131": ("invalid", "too few samples"),
    }
    assert worst.keys() == words.keys()
    for frame, (outcome, reason) in words.items():
        assert worst[frame][0] == outcome, (frame, worst[frame])
        assert reason in worst[frame][1], (frame, worst[frame])
    # What pytest calls bad, labkit's line does not call good.
    assert sum(v["outcome"] == "fail" for v in run["verdicts"]) == 8
    assert result.ret == 1


SKIPPED = """
import pytest

@pytest.mark.dpdk
@pytest.mark.skip(reason="no time")
def test_mine(measure):
    measure.mrr()
"""
PLAIN = "def test_plain(): pass\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 5, "nothing was measured: 1 test was skipped"),
        (["--collect-only"], 0, "test_mine"),
        (["--labkit-require=dpdk"], 1, "dpdk is required (--labkit-require), and skipped: no time"),
        (
            ["--labkit-require=kernel"],
            1,
            "kernel is required (--labkit-require), but no test of it was selected",
        ),
        (["--labkit-require", "dpkd"], 4, "'dpkd': no such backend (did you mean 'dpdk'?"),
        (["-k", "zzz", "--labkit-require=dpdk"], 1, "no test of it was selected"),
        (["-k", "zzz"], 5, "1 deselected"),
    ],
)
def test_a_run_that_measured_nothing_does_not_end_well(
    lab: pytest.Pytester, arguments: list[str], code: int, says: str
) -> None:
    lab.makepyfile(SKIPPED)
    result = lab.runpytest_subprocess(*arguments)
    assert result.ret == code
    assert says in result.stdout.str() + result.stderr.str()
    if "skipped: no time" in says:
        (verdict,) = results(lab)["verdicts"]
        assert (verdict["outcome"], verdict["reason"]) == ("fail", "required, and skipped: no time")
    else:
        assert not (lab.path / "results").exists()


def test_a_run_with_other_tests_is_judged_by_them(lab: pytest.Pytester) -> None:
    lab.makepyfile(SKIPPED + PLAIN)
    assert lab.runpytest_subprocess().ret == 0


def test_a_former_name_of_a_tester_engine_is_answered_with_the_new_one(lab: pytest.Pytester) -> None:
    lab.makepyfile(PLAIN)
    result = lab.runpytest_subprocess("--labkit-tester", "packet")
    assert result.ret == 4  # labkit run: 2
    assert "--labkit-tester packet: packet is now called af_packet" in result.stderr.str()


@pytest.mark.parametrize("how", ["one word", "two words", "PYTEST_ADDOPTS"])
def test_our_options_do_not_move_the_rootdir(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """Results and a lab file of a folder that has a pytest.ini of its own, which is none of this run's."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    sim = (Path(__file__).parents[2] / "topologies" / "sim.yml").read_text()
    (tmp_path / "mine.yml").write_text(sim)
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 1 kpps"))
    folder, topology = str(tmp_path), str(tmp_path / "mine.yml")
    words = [f"--labkit-results={folder}", f"--topology={topology}"]
    if how != "one word":
        words = ["--labkit-results", folder, "--topology", topology]
    if how == "PYTEST_ADDOPTS":
        monkeypatch.setenv(how, " ".join(words))
        words = []
    result = pytester.runpytest_subprocess("--collect-only", "-v", *words)
    assert result.ret == 0, result.stderr.str()
    result.stdout.fnmatch_lines([f"rootdir: {pytester.path}", "*test_mine?dpdk-mine-64?*"])
    result.stdout.no_fnmatch_line(f"rootdir: {tmp_path}")


RERUN = """
import pytest

tries = []

@pytest.mark.dpdk
@pytest.mark.flaky
def test_flaky(measure, target):
    tries.append(measure.mrr())
    target(tries[-1], mrr=">= 1 kpps")
    if len(tries) == 1:
        raise RuntimeError("the first time")
    assert tries[0].started != tries[1].started

@pytest.mark.dpdk
def test_another(measure):
    assert measure.mrr() is tries[-1]  # remembered: it is another test, not a rerun
"""


def test_a_rerun_measures_anew_and_both_ends_are_reported(lab: pytest.Pytester) -> None:
    """What pytest-rerunfailures and flaky do: the protocol of one test, twice."""
    lab.makepyfile(RERUN)
    lab.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            if "flaky" in item.name:
                item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                runtestprotocol(item, nextitem=nextitem, log=False)
                item._initrequest()
                runtestprotocol(item, nextitem=nextitem)
                return True
        """
    )
    result = lab.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    run = results(lab)
    assert len(run["measurements"]) == 2
    outcomes = [v["outcome"] for v in run["verdicts"] if "flaky" in v["test"]]
    assert outcomes == ["pass", "fail", "pass"]  # and the worst is the row's


@pytest.mark.parametrize("arguments", [["-q"], ["-v"], ["-q", "-s"]])
def test_progress_says_how_far_it_is_on_lines_of_its_own_and_not_on_stderr(
    lab: pytest.Pytester, arguments: list[str]
) -> None:
    lab.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 1 kpps") + PLAIN)
    result = lab.runpytest_subprocess("--labkit-quick", *arguments)
    result.assert_outcomes(passed=3)
    lines = [line for line in result.stdout.lines if "labkit: " in line]
    assert all(line.startswith("labkit: ") for line in lines), lines
    assert "labkit: 1 of 2: dpdk-sim-64: mrr" in lines
    assert any(
        re.match(r"labkit: 2 of 2, about \d+ s left: dpdk-sim-64: latency$", line) for line in lines
    ), lines
    assert "labkit: " not in result.stderr.str()


def test_the_time_left_is_judged_by_tests_of_the_same_kind() -> None:
    now = iter((0.0, 10.0, 10.0, 40.0, 40.0))
    pace = Pace({"a1": "a", "a2": "a", "b1": "b", "b2": "b", "b3": "b"}, clock=lambda: next(now))
    assert pace.words == "1 of 5"
    pace.begin("a1")
    pace.end("a1", measured=True)
    assert pace.words == "2 of 5, about 40 s left"
    pace.begin("b1")
    pace.end("b1", measured=True)
    assert pace.words == "3 of 5, about 70 s left"
    pace.begin("a2")
    pace.end("a2", measured=False)
    assert pace.words == "4 of 5, about 60 s left"


@pytest.mark.parametrize(
    ("marker", "says"),
    [
        ("on(topology='nix.yml')", "no such file: *nix.yml"),
        ("on(topology='vethh')", "no topology is named 'vethh'"),
        ("on(topology='bad.yml')", "*bad.yml*tier"),
        ("on('memif')", "expected arguments by name"),
        ("dpdk(mode='any')", "this marker takes no arguments"),
        ("on(topolgy='memif')", "takes no argument 'topolgy'"),
        ("on(mode='turbo')", "has no mode 'turbo'"),
        ("on(frame='63')", "frame size 63: expected 64 to"),
        ("datapaths(frames=('64', 'big'))", "frame size 'big'"),
        ("datapaths(modes='some')", "modes='some': expected 'all' or 'default'"),
    ],
)
def test_wrong_markers_are_reported_with_file_and_line_and_no_traceback(
    pytester: pytest.Pytester, marker: str, says: str
) -> None:
    (pytester.path / "bad.yml").write_text("description: x\ntier: nowhere\nbackends: [dpdk]\n")
    file = pytester.makepyfile(
        f"import pytest\n\n@pytest.mark.dpdk\n@pytest.mark.{marker}\ndef test_it(measure): pass\n"
    )
    result = pytester.runpytest_subprocess("--collect-only")
    assert result.ret == 2
    result.stdout.fnmatch_lines([f"{file}:3: test_it: *{says}*"])
    assert "labkit/" not in result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_a_test_names_its_lab_by_file_and_is_left_out_where_the_user_chose_another(
    pytester: pytest.Pytester,
) -> None:
    """Beside the test's file, wherever pytest is started."""
    folder = pytester.mkdir("labs")
    (folder / "mylab.yml").write_text((Path(__file__).parents[2] / "topologies" / "sim.yml").read_text())
    (folder / "test_labs.py").write_text(
        "import pytest\npytestmark = pytest.mark.dpdk\n"
        "@pytest.mark.on(topology='mylab.yml')\ndef test_file(measure): measure.mrr()\n"
        "@pytest.mark.on(topology='sim')\ndef test_name(measure): measure.mrr()\n"
    )
    result = pytester.runpytest_subprocess("labs", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_file?dpdk-mylab-64? PASSED*", "*test_name?dpdk-sim-64? PASSED*"])
    chosen = pytester.runpytest_subprocess("labs", "--topology=labs/mylab.yml")
    chosen.assert_outcomes(passed=1, deselected=1)
    chosen.stdout.fnmatch_lines(
        ["deselected: *test_name* is for topology sim, which is not chosen (--topology mylab)"]
    )
    assert pytester.runpytest_subprocess("labs", "--topology=memif").ret == 5


def test_on_a_terminal_progress_is_one_line_that_is_cleared_before_pytest_goes_on(
    lab: pytest.Pytester,
) -> None:
    lab.makepyfile(TEST_OF_ONES_OWN.format(bound=">= 1 kpps"))
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "--labkit-quick", "-k", "mine"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert done.wait(timeout=60) == 0
    status = b"\r\x1b[2K1 of 1: dpdk-sim-64: mrr ..."
    assert status in shown, shown
    _, _, after = shown.partition(status)
    assert b"\r\x1b[2K" in after.split(b".\x1b")[0]  # cleared before the dot
