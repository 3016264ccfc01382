"""The command line, on the simulated lab: no privileges, no packets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

LABKIT = [sys.executable, "-m", "labkit.cli"]


def labkit(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LABKIT, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    done = labkit(
        *("run", "--quick", "--topology", "sim", "--results", str(folder / "results")),
        cwd=folder,
        PYTHONIOENCODING="ascii",
    )
    # Neither escaped nor cut, although there is no terminal and no UTF-8.
    assert "RTT idle, us" in done.stdout
    assert re.search(r"^kernel .* pass", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^targets: .* 0 invalid", done.stdout, re.MULTILINE), done.stdout
    assert "\\" not in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kernel" in done.stdout
    assert "report:" in done.stdout
    return folder


def test_help_is_there_at_once() -> None:
    best_s = 9.0
    for _ in range(3):
        began = time.monotonic()
        assert labkit("--help").returncode == 0
        best_s = min(best_s, time.monotonic() - began)
    # The aim is 0.3 s; a loaded machine gets some slack, an import of pytest or scapy would not fit in.
    assert best_s < 0.6


def test_help_names_every_verb() -> None:
    text = labkit("--help").stdout
    for verb in (
        "run",
        "trial",
        "up",
        "status",
        "down",
        "doctor",
        "report",
        "compare",
        "build",
        "completion",
    ):
        assert verb in text


def test_a_run_leaves_results_report_and_junit(run_folder: Path) -> None:
    (folder,) = (run_folder / "results").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"results.json", "report.html", "junit.xml"} <= names
    assert "testsuite" in (folder / "junit.xml").read_text()


QUICK_RUN = ("run", "--quick", "-m", "dpdk and loss", "--topology", "sim")


@pytest.mark.parametrize("out", ["out", "$OUT"])
def test_a_run_goes_its_own_way_whatever_the_users_pytest_is_set_to(out: str, tmp_path: Path) -> None:
    """Entry points off, options of other plugins, a broken pytest.ini above; and the file that CI wants is made."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option -n auto\n")
    here = tmp_path / "ci"
    here.mkdir()
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-n2 --no-such-option"}
    environment["OUT"] = "out"  # pytest reads variables
    done = labkit(*QUICK_RUN, "--", f"--junitxml={out}/ci.xml", cwd=here, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PYTEST_ADDOPTS" in done.stderr
    (folder,) = (here / "results").iterdir()
    text = (here / "out" / "ci.xml").read_text()
    assert 'tests="1"' in text
    assert (folder / "junit.xml").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-m", "burst"], 5, "nothing was measured: no test of the suite"),
        (["-m", "lowlatency and not kernel"], 5, "all 3 tests were skipped"),  # a simulated lab has no host
        (["-m", "burst", "--require", "dpdk"], 1, "dpdk is required (--require)"),
        (["--require", "dpdk,xpd"], 2, "--require 'xpd': no such backend (did you mean 'xdp'?"),
        (["--retry", "soon"], 2, "ERROR: --retry 'soon'"),
        (["--wait", "soon"], 2, "ERROR: --wait 'soon'"),
        (["--tester", "packet"], 2, "ERROR: --tester packet: packet is now called af_packet"),
        (["--", "--labkit-retry=soon"], 2, "ERROR: --labkit-retry 'soon'"),
        (["--", "--collect-only"], 0, "test_latency"),
        (["--", "--lf"], 2, "--lf: labkit run keeps nothing"),
        (["--", "--junitxml=/proc/ci.xml"], 2, "--junitxml /proc/ci.xml"),
        (["--", "-p", "no:junitxml"], 2, "hint: leave -p no:junitxml out"),
        (["--", "--no-such-option"], 2, "unrecognized arguments: --no-such-option"),
    ],
)
def test_what_measures_nothing_is_not_green_and_what_cannot_be_is_refused(
    arguments: list[str], code: int, says: str, tmp_path: Path
) -> None:
    done = labkit("run", "--quick", "--topology", "sim", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_report_prints_the_rows_as_json(run_folder: Path) -> None:
    done = labkit("report", "--json", cwd=run_folder)
    rows = json.loads(done.stdout)
    assert {row["backend"] for row in rows} == {"kernel", "af_xdp", "dpdk"}
    wanted = {
        "backend",
        "link",
        "frame_size_bytes",
        "ndr_pps",
        "pdr_pps",
        "mrr_pps",
        "rtt_p50_us",
        "rtt_p99_us",
        "rtt_p999_us",
        "verdict",
        "reason",
    }
    assert all(wanted <= row.keys() for row in rows)
    kernel = next(row for row in rows if row["backend"] == "kernel")
    assert 300e3 < kernel["pdr_pps"] < 500e3
    assert kernel["frame_size_bytes"] == 64


def test_report_of_a_folder_without_runs_is_bad_input(tmp_path: Path) -> None:
    done = labkit("report", cwd=tmp_path)
    assert done.returncode == 2
    assert "labkit run" in done.stderr


def test_results_of_a_newer_version_are_refused(run_folder: Path, tmp_path: Path) -> None:
    (folder,) = (run_folder / "results").iterdir()
    document = json.loads((folder / "results.json").read_text())
    document["schema_version"] += 1
    (tmp_path / "results.json").write_text(json.dumps(document))
    done = labkit("report", str(tmp_path / "results.json"))
    assert done.returncode == 2
    assert "newer" in done.stderr


def test_one_trial_prints_its_numbers() -> None:
    done = labkit("trial", "--topology", "sim", "--backend", "kernel", "--load", "100 kpps", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["id"] == "kernel-sim-64"
    assert answer["trial"]["sent"] == 100_000
    text = labkit("trial", "--topology", "sim", "--load", "100 kpps").stdout
    assert "loss ratio" in text
    assert "simulated" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trial", "--topology", "sim", "--load", "100 kbps"], "pps"),
        (["trial", "--topology", "sim", "--frame", "63"], "63"),
        (["trial", "--topology", "sim", "--frame", "big"], "imix"),
        (["trial", "--topology", "sim", "--backend", "kernal"], "kernel"),
        (["trial", "--topology", "sim", "--mode", "x", "--backend", "dpdk"], "mode"),
        (["trial", "--topology", "nowhere"], "nowhere"),
        (["run", "--topology", "nowhere"], "nowhere"),
        (["run", "--quick", "-m", "not a ( marker", "--topology", "sim"], "marker"),
        (["fly"], "invalid choice"),
        ([], "VERB"),
    ],
)
def test_bad_input_is_refused_with_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = labkit(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in done.stderr


def test_completion_prints_shell_code() -> None:
    for shell in ("bash", "zsh", "fish"):
        done = labkit("completion", shell)
        assert done.returncode == 0
        assert "labkit" in done.stdout


def test_completion_completes_verbs_and_topologies(tmp_path: Path) -> None:
    def complete(line: str) -> list[str]:
        out = tmp_path / "out"
        subprocess.run(
            LABKIT,
            env={
                **os.environ,
                "_ARGCOMPLETE": "1",
                "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
                "_ARGCOMPLETE_IFS": "\n",
                "COMP_LINE": line,
                "COMP_POINT": str(len(line)),
            },
            check=False,
            timeout=60,
        )
        return [word.strip() for word in out.read_text().split("\n") if word.strip()]

    assert "doctor" in complete("labkit do")
    assert {"veth", "vhost"} <= set(complete("labkit trial --topology v"))
    assert complete("labkit trial --backend af_x") == ["af_xdp"]


def test_no_frames_are_written_of_a_mode_that_sends_messages(tmp_path: Path) -> None:
    done = labkit("frames", "--mode", "tcp", "-o", "out.pcap", cwd=tmp_path)
    assert done.returncode == 2
    assert "--mode tcp: it sends messages over TCP connections" in done.stderr
    assert not (tmp_path / "out.pcap").exists()
