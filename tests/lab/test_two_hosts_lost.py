"""A lab of two hosts whose connection is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.lab.ssh_host import TwoHosts
from tests.lab.two_hosts import NEEDS_SSH_SERVER, RUN_S, eventually, running

pytestmark = [pytest.mark.beside, NEEDS_SSH_SERVER]


LOST = """
import sys
from labkit.errors import LabkitError
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec

with Session(Settings(store=False, quick=True), progress=Silent()) as session:
    datapath = next(d for d in enumerate_datapaths([load(sys.argv[1])]) if d.backend.name == "kernel")
    try:
        session.one_trial(datapath, frame_spec("64"), load_pps=1000.0, duration_s=200.0)
    except LabkitError as error:
        print(f"lost: {error.message}", flush=True)
    trial, proof, _ = session.one_trial(datapath, frame_spec("64"), load_pps=1000.0, duration_s=0.2)
    print(f"proven: {proof.proven}, {trial.received > 0}", flush=True)
"""


def test_after_a_lost_connection_the_next_measurement_connects_anew(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(
        [*two.here.enter, sys.executable, "-c", LOST, str(two.topology)], stdout=subprocess.PIPE, text=True
    )
    assert eventually(lambda: running(two, "socket"))
    assert two.alpha.kill("dropbear -i")
    output, _ = process.communicate(timeout=120)  # the trial ends before its time
    lost, again = output.splitlines()
    assert lost.startswith("lost: ")
    assert "connection to alpha was lost" in lost
    assert again == "proven: True, True"
    # Offloads of a veth cannot be reverted while the tester's program is still on its other end.
    two.alpha.run("sh", "-c", "labkit down")
    assert (two.here.state(), two.alpha.state()) == before


@pytest.mark.parametrize("stays", [False, True], ids=["a lab of its own", "a lab that is up"])
def test_a_trial_says_that_the_connection_was_lost_and_ends_at_once(two: TwoHosts, *, stays: bool) -> None:
    before = (two.here.state(), two.alpha.state())
    if stays:
        subprocess.run(two.argv("up"), capture_output=True, check=True, timeout=RUN_S)
    argv = [*two.here.enter, sys.executable, "-m", "labkit.cli", "trial"] if stays else two.argv("trial")
    process = subprocess.Popen(
        [*argv, "--duration", "200 s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert eventually(lambda: running(two, "socket"))
    assert two.alpha.kill("dropbear -i")

    _, errors = process.communicate(timeout=120)

    assert process.returncode == 4, errors
    assert "the connection to alpha was lost" in errors
    two.alpha.run("sh", "-c", "labkit down")
    subprocess.run([*two.here.enter, sys.executable, "-m", "labkit.cli", "down"], check=True, timeout=RUN_S)
    assert (two.here.state(), two.alpha.state()) == before


OUTAGE = LOST.replace(
    "with Session", "machines.ALIVE_EVERY_S, machines.LOST_AFTER_S = 0.5, 14.0\n\nwith Session"
).replace("from labkit.lab.topology_file", "from labkit.lab import machines\nfrom labkit.lab.topology_file")


JUDGED = """
import pytest

@pytest.mark.kernel
def test_first(measure, target):
    target(measure.latency("1 kpps"), p50="<= 10 s")

@pytest.mark.kernel
def test_second(measure, target):
    target(measure.latency("2 kpps"), p50="<= 10 s")
"""


def lost_in_a_run(two: TwoHosts, *arguments: str, then: Callable[[], None]) -> tuple[int, str, dict]:
    """Exit code, output and results of a run in whose first test the connection is lost."""
    (two.folder / "test_judged.py").write_text(JUDGED)
    results = two.folder / "results"
    argv = [*two.here.enter, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v"]
    argv += [f"--rootdir={two.folder}", "--topology", str(two.topology), "--labkit-quick", "--labkit-results"]
    process = subprocess.Popen(
        [*argv, str(results), *arguments, str(two.folder / "test_judged.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=two.folder,
    )
    assert eventually(lambda: running(two, "socket") or process.poll() is not None)
    then()
    assert two.alpha.kill("dropbear -i")
    output, _ = process.communicate(timeout=RUN_S)
    (run,) = [path for path in results.iterdir() if path.is_dir() and not path.is_symlink()]
    return process.returncode, output, json.loads((run / "results.json").read_text())


def test_a_lost_connection_makes_a_test_invalid_and_it_is_repeated(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    code, output, found = lost_in_a_run(
        two, "--labkit-allow-invalid", "--labkit-retry", "10s", then=lambda: None
    )
    assert "INVALID, will be repeated" in output
    assert "the connection was lost" in output
    assert code == 0, output
    verdicts = {v["test"].rpartition("::")[2]: v for v in found["verdicts"]}
    assert set(verdicts) == {"test_first[kernel-two-64]", "test_second[kernel-two-64]"}
    assert not [v for v in verdicts.values() if v["target"] == "can be measured"], verdicts
    assert max(v["attempt"] for v in found["verdicts"]) >= 2
    two.alpha.run("sh", "-c", "labkit down")
    assert (two.here.state(), two.alpha.state()) == before


def test_a_host_that_does_not_come_back_leaves_its_tests_invalid_not_skipped(two: TwoHosts) -> None:
    code, output, found = lost_in_a_run(
        two, "--labkit-retry", "0", then=lambda: (two.folder / "server").rename(two.folder / "gone")
    )
    assert code == 1, output
    assert "2 invalid" in output
    assert "2 tests are invalid (the connection was lost)" in output
    assert "repeat the run when the host is back" in output
    for verdict in found["verdicts"]:
        assert (verdict["target"], verdict["outcome"]) == ("can be measured", "invalid")
        assert verdict["reason"] == "the connection to alpha was lost"
    assert len(found["verdicts"]) == 2
    assert "invalid" in (next((two.folder / "results").glob("*/report.html"))).read_text()


def test_a_host_that_an_agent_of_ours_still_has_after_an_outage_is_waited_for(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(
        [*two.here.enter, sys.executable, "-c", OUTAGE, str(two.topology)], stdout=subprocess.PIPE, text=True
    )
    assert eventually(lambda: running(two, "socket"))
    # As if nothing came through: the server there does not learn that the connection has ended.
    servers = [pid for pid, line in two.alpha.processes().items() if "dropbear -i" in line]
    assert servers
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    assert two.here.kill("ControlMaster=yes")
    output, _ = process.communicate(timeout=RUN_S)
    lost, again = output.splitlines()
    assert lost.startswith("lost: ")
    assert again == "proven: True, True"
    two.alpha.run("sh", "-c", "labkit down")
    assert (two.here.state(), two.alpha.state()) == before
