"""kill -9 of a controller at any moment: after `down`, the machine is as it was before."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from labkit.machine import hugepages, snapshot
from labkit.machine.journal import Journal

"""Fifty kills of each kind instead of a handful."""

CONTROLLER = """
import subprocess, sys
from dataclasses import replace
from labkit.lab.live import down, lab_up, up
from labkit.lab.topology_file import load
import labkit.lab.links.napi, labkit.lab.links.veth
how, name, memory = sys.argv[1], sys.argv[2], int(sys.argv[3])
topology = load(name)
topology = replace(topology, links=tuple(
    replace(link, memory_bytes=memory if link.hugepages else 0) for link in topology.links))
print("go", flush=True)
while True:
    if how == "context":
        with lab_up(topology) as lab:
            guest = subprocess.Popen(lab.dut_ports[0].host.argv(["sleep", "60"]))
            print("up", flush=True)
            guest.kill()
            guest.wait()
    else:
        up(topology)
        print("up", flush=True)
        down()
"""
DOWN = """
import sys
from labkit.lab.live import down
left = [one.left for one in down() if one.left]
sys.exit("; ".join(left) if left else 0)
"""


def controller(how: str, name: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    pool = hugepages.pool()
    memory = (pool.free + 4) * pool.size_bytes
    return subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, how, name, str(memory)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def difference(before: snapshot.Snapshot, mark: str, *, within_s: float = 5.0) -> list[str]:
    """What is other than before, once what dies by itself had its moment."""
    end = time.monotonic() + within_s
    while (found := before.difference(snapshot.take(mark=mark))) and time.monotonic() < end:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("how", ["context", "standing"])
@pytest.mark.parametrize("name", ["veth", "memif"])
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_after_a_kill_at_any_moment_down_brings_back_what_was(
    how: str, name: str, kills: int, tmp_path: Path
) -> None:
    value = uuid.uuid4().hex
    mark = f"LABKIT_TEST_MARK={value}"
    environment = {**os.environ, "LABKIT_STATE_DIR": str(tmp_path), "LABKIT_TEST_MARK": value}
    dice = random.Random(f"{how}-{name}")
    killed_at = []
    for _ in range(kills):
        before = snapshot.take(mark=mark)
        victim = controller(how, name, environment)
        assert victim.stdout
        assert victim.stdout.readline() == "go\n"
        killed_at.append(dice.uniform(0, 0.25))
        time.sleep(killed_at[-1])
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        for _again in range(2):  # twice does no harm
            done = subprocess.run(
                [sys.executable, "-c", DOWN],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (killed_at, done.stderr)
        assert difference(before, mark) == [], killed_at
        state = Journal(tmp_path).read()
        assert (state.entries, state.labs, state.unreadable) == ((), {}, ())


def test_a_standing_lab_is_seen_until_it_is_down(tmp_path: Path) -> None:
    """The comparison above can fail: with a lab up it shows what is there."""
    value = uuid.uuid4().hex
    mark = f"LABKIT_TEST_MARK={value}"
    environment = {**os.environ, "LABKIT_STATE_DIR": str(tmp_path), "LABKIT_TEST_MARK": value}
    before = snapshot.take(mark=mark)
    pool = hugepages.pool()
    memory = (pool.free + 4) * pool.size_bytes
    code = CONTROLLER.replace("        down()\n", "        sys.exit()\n")
    subprocess.run(
        [sys.executable, "-c", code, "standing", "memif", str(memory)], env=environment, check=True
    )
    seen = difference(before, mark, within_s=0)
    assert [fact for fact in seen if fact.startswith("+ process")]
    assert [fact for fact in seen if fact.startswith("+ setting vm/nr_hugepages")]
    subprocess.run([sys.executable, "-c", DOWN], env=environment, check=True)
    assert difference(before, mark) == []


def test_what_a_killed_controller_left_the_next_lab_puts_back(tmp_path: Path) -> None:
    environment = {**os.environ, "LABKIT_STATE_DIR": str(tmp_path)}
    before = hugepages.pool().total
    victim = controller("context", "memif", environment)
    assert victim.stdout
    assert [victim.stdout.readline() for _ in "12"] == ["go\n", "up\n"]
    victim.kill()
    victim.communicate()
    imports = "from labkit.lab.live import lab_up\nfrom labkit.lab.topology_file import load\n"
    code = imports + "with lab_up(load('memif')): pass"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=30)
    assert hugepages.pool().total == before
