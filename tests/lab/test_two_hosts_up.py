"""A lab of two hosts comes up and goes down: in how many round trips, and by labkit up and down."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.lab.ssh_host import ROUND_TRIP_S, TwoHosts, kill
from tests.lab.two_hosts import NEEDS_SSH_SERVER, RUN_S, eventually

pytestmark = [pytest.mark.beside, NEEDS_SSH_SERVER]


UP_AND_DOWN = """
import sys, time
from labkit.lab.live import lab_up
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.machines import Machines

topology, began = load(sys.argv[1]), time.monotonic()
machines = Machines((), wait_s=0.0, progress=Silent())
try:
    with lab_up(topology, reach=machines.reach):
        pass
finally:
    machines.close()
print(time.monotonic() - began)
"""
TRIALS = """
import statistics, sys, time
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec

times = []
with Session(Settings(store=False), progress=Silent()) as session:
    datapath = next(d for d in enumerate_datapaths([load(sys.argv[1])]) if d.backend.name == "kernel")
    testbed = session._testbeds.testbed(datapath, 4)
    testbed.set_frames(frame_spec("64"))
    for _ in range(6):
        began = time.monotonic()
        trial = testbed.measure(load_pps=1000.0, duration_s=0.2)
        times.append(time.monotonic() - began)
print(statistics.median(times))
"""


def round_trips(two: TwoHosts, script: str, role: str) -> float:
    """How many round trips to the host of this role a script waits for, by the time that each of them adds."""
    took_s = dict.fromkeys(ROUND_TRIP_S, 1e9)
    for name in (*ROUND_TRIP_S, *ROUND_TRIP_S):  # the shorter of two: other programs only add time
        two.write_topology(**{"tester": "here", "dut": "here", role: name})
        took_s[name] = min(
            took_s[name],
            float(two.here.run(sys.executable, "-c", script, str(two.topology)).splitlines()[-1]),
        )
    return (took_s["far"] - took_s["near"]) / ROUND_TRIP_S["far"]


def test_a_lab_comes_up_and_goes_down_in_thirty_round_trips(two: TwoHosts) -> None:
    assert 5 < round_trips(two, UP_AND_DOWN, "dut") <= 30


def test_a_trial_on_a_remote_tester_takes_one_round_trip(two: TwoHosts) -> None:
    assert 0.5 < round_trips(two, TRIALS, "tester") <= 1.5


STAYS = """
import sys, time
from labkit.cli import main

began = time.monotonic()
main(["up", "--topology", sys.argv[1]])
main(["down"])
print(time.monotonic() - began)
"""


def test_a_lab_that_stays_takes_few_more_since_it_connects_twice(two: TwoHosts) -> None:
    assert 5 < round_trips(two, STAYS, "dut") <= 33  # 23 to 27 were measured; another program adds more


def labkit(two: TwoHosts, *arguments: str) -> subprocess.CompletedProcess[str]:
    """labkit on the controller, without a topology."""
    argv = [*two.here.enter, sys.executable, "-m", "labkit.cli", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=RUN_S)


def test_a_lab_stays_up_without_its_controller_until_it_is_taken_down(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    up = subprocess.run(two.argv("up"), capture_output=True, text=True, check=False, timeout=RUN_S)
    assert up.returncode == 0, up.stderr
    assert "dut     nic0 of alpha" in up.stdout
    assert not two.alpha.processes()
    there = two.alpha.state()
    assert there != before[1]
    assert "two: up since" in labkit(two, "status").stdout
    assert re.search(r"two: up since \S+ by root@\S+; ", two.alpha.run("labkit", "status"))
    again = subprocess.run(two.argv("up"), capture_output=True, text=True, check=False, timeout=RUN_S)
    assert again.returncode == 3
    assert "the lab two is up" in again.stderr

    trial = labkit(two, "trial", "--duration", "200 ms", "--json")

    assert trial.returncode == 0, trial.stderr
    assert json.loads(trial.stdout)["proof"]["proven"]
    assert two.alpha.state() == there
    down = labkit(two, "down")
    assert down.returncode == 0, down.stderr
    assert ": alpha: nic0 state: up -> down: reverted" in down.stdout
    assert ": nic0 state: up -> down: reverted" in down.stdout
    assert (two.here.state(), two.alpha.state()) == before
    assert "no lab is up" in labkit(two, "status").stdout
    assert "no lab is up" in two.alpha.run("labkit", "status")


def test_a_lab_that_was_taken_down_on_its_host_is_said_to_be_gone(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    subprocess.run(two.argv("up"), capture_output=True, check=True, timeout=RUN_S)
    two.alpha.run("labkit", "down")
    assert two.alpha.state() == before[1]
    trial = labkit(two, "trial")
    assert trial.returncode == 3
    assert "the lab two is no longer up on alpha: it was taken down there" in trial.stderr
    assert labkit(two, "down").returncode == 0
    assert (two.here.state(), two.alpha.state()) == before


def test_a_lab_whose_host_cannot_be_reached_is_kept_on_record_until_it_is_down(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    subprocess.run(two.argv("up"), capture_output=True, check=True, timeout=RUN_S)
    (two.folder / "server").rename(two.folder / "gone")
    down = labkit(two, "down")
    assert down.returncode == 3
    assert "alpha: LEFT: alpha cannot be reached" in down.stdout
    assert "two: up since" in labkit(two, "status").stdout
    (two.folder / "gone").rename(two.folder / "server")
    assert labkit(two, "down").returncode == 0
    assert (two.here.state(), two.alpha.state()) == before


def test_an_up_that_fails_at_the_last_step_is_reverted_on_both_hosts(two: TwoHosts) -> None:
    """The journal there has room for the changes, but not for the record of the lab, which has the file in it."""
    lab = json.loads(two.topology.read_text())
    two.topology.write_text(json.dumps({**lab, "description": "x" * 10000}))
    two.alpha.run("sh", "-ec", "mkdir -p /var/lib/labkit; mount -t tmpfs -o size=20k none /var/lib/labkit")
    before = (two.here.state(), two.alpha.state())
    up = subprocess.run(two.argv("up"), capture_output=True, text=True, check=False, timeout=RUN_S)
    assert up.returncode == 3, up.stderr
    assert (
        "alpha, keep: the journal /var/lib/labkit/journal.jsonl cannot be written: No space left" in up.stderr
    )
    assert (two.here.state(), two.alpha.state()) == before
    assert "no lab is up" in labkit(two, "status").stdout
    assert labkit(two, "down").stdout == "nothing to revert\n"


def test_a_killed_up_leaves_what_down_reverts(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(two.argv("up"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert eventually(lambda: two.alpha.state() != before[1])
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    assert labkit(two, "down").returncode == 0
    assert (two.here.state(), two.alpha.state()) == before
