"""A lab of two hosts: what a killed program, a used host or a full disk leaves there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.lab.ssh_host import TwoHosts, kill
from tests.lab.two_hosts import NEEDS_SSH_SERVER, RUN_S, eventually, long_trial, running

pytestmark = [pytest.mark.beside, NEEDS_SSH_SERVER]


def test_a_killed_controller_leaves_nothing_on_either_host(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = long_trial(two)
    assert two.alpha.state() != before[1]
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    assert eventually(lambda: not two.here.processes())
    assert (two.here.state(), two.alpha.state()) == before


STOPPED = """
import sys
from labkit.lab import machines
from labkit.cli import main

machines.ALIVE_EVERY_S, machines.LOST_AFTER_S = 0.5, 4.0
sys.exit(main(sys.argv[1:]))
"""


def test_a_host_whose_controller_is_not_heard_of_reverts_by_itself(two: TwoHosts) -> None:
    before = two.alpha.state()
    _, _, _, *arguments = two.argv("trial", "--duration", "60 s")[len(two.here.enter) :]
    process = subprocess.Popen(
        [*two.here.enter, sys.executable, "-c", STOPPED, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert eventually(lambda: running(two, "socket") or process.poll() is not None)
        time.sleep(8)
        assert running(two, "socket"), "it is heard of as long as it runs"
        for pid in two.here.processes():  # as a machine that lost its power: no connection is closed
            os.kill(pid, signal.SIGSTOP)
        assert eventually(lambda: not two.alpha.processes())
        assert "198.18.0.2" not in two.alpha.state()
    finally:
        for pid in two.here.processes():
            os.kill(pid, signal.SIGKILL)
        process.wait()
    # Offloads of a veth could not be reverted as long as a program was on its other end.
    two.alpha.run("sh", "-c", "labkit down")
    assert two.alpha.state() == before


HOLDER = """
import sys, time
from labkit.machine.lock import measuring

with measuring(wait_s=0):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def holder(two: TwoHosts) -> Iterator[subprocess.Popen[str]]:
    """A process that measures on alpha."""
    process = subprocess.Popen(
        [*two.alpha.enter, sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    if process.poll() is None:
        kill(process)
    process.stdout.close()


def test_a_host_on_which_another_measures_is_refused_with_its_holder(
    two: TwoHosts, holder: subprocess.Popen[str]
) -> None:
    before = two.alpha.state()
    done = two.trial("--wait", "0")
    assert done.returncode == 3
    assert "labkit's agent on alpha, reserve: another measurement runs on this machine" in done.stderr
    assert re.search(r"pid \d+, user root, started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: ", done.stderr)
    assert two.alpha.state() == before


def test_a_host_on_which_another_measures_is_waited_for(two: TwoHosts, holder: subprocess.Popen[str]) -> None:
    waiting = subprocess.Popen(
        two.argv("trial", "--wait", "2min", "--duration", "200 ms", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert any("waiting, 1" in line for line in waiting.stderr)
    kill(holder)
    output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert json.loads(output)["proof"]["proven"]


def test_what_a_killed_agent_left_is_reverted_there_by_labkit_down(two: TwoHosts) -> None:
    before = two.alpha.state()
    process = long_trial(two)
    assert two.alpha.kill(" -m labkit.cli agent")
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    assert two.alpha.state() != before
    printed = two.alpha.run("sh", "-c", "labkit down")
    assert "nic0 link-local addresses: as the kernel makes them -> none: reverted" in printed
    assert "nic0 mtu" not in printed  # it was 1500 already
    assert re.search(r"nic0 address 198.18.0.2/24: present -> absent: reverted", printed)
    assert two.alpha.state() == before


def test_what_was_changed_of_an_interface_that_is_gone_since_is_gone_with_it(two: TwoHosts) -> None:
    process = long_trial(two)
    assert two.alpha.kill(" -m labkit.cli agent")
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    two.alpha.run("ip", "link", "delete", "nic0")
    printed = two.alpha.run("sh", "-c", "labkit down")
    assert "LEFT" not in printed
    assert "nothing to revert" in two.alpha.run("sh", "-c", "labkit down")


def test_a_full_disk_there_is_named_before_anything_is_changed(two: TwoHosts) -> None:
    fill = "mount -t tmpfs -o size=8k none {0}; dd if=/dev/zero of={0}/fill bs=4k 2>/dev/null || true"
    two.alpha.run("sh", "-ec", "mkdir -p /var/lib/labkit; " + fill.format("/var/lib/labkit"))
    before = (two.here.state(), two.alpha.state())
    done = two.trial()
    assert done.returncode == 3
    assert (
        "alpha, wire: the journal /var/lib/labkit/journal.jsonl cannot be written: No space left"
        in done.stderr
    )
    assert "free some space in /var/lib/labkit" in done.stderr
    assert (two.here.state(), two.alpha.state()) == before


def test_a_disk_that_can_no_longer_be_written_keeps_nothing_from_being_reverted(two: TwoHosts) -> None:
    two.alpha.run("sh", "-ec", "mkdir -p /var/lib/labkit; mount -t tmpfs none /var/lib/labkit")
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(
        two.argv("trial", "--duration", "3 s", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually(lambda: running(two, "socket") or process.poll() is not None)
    two.alpha.run("mount", "-o", "remount,ro", "/var/lib/labkit")
    output, errors = process.communicate(timeout=RUN_S)
    assert process.returncode == 3, errors
    assert "Read-only file system" in errors
    assert json.loads(output)["trial"]["received"] > 0
    assert (two.here.state(), two.alpha.state()) == before
