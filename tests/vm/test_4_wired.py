"""Labs of two machines: labkit here, tester and DUT reached over SSH, and NICs with a cable between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.vm import desired
from tests.vm.guest import Guest
from tests.vm.playbook import Playbooks, Provisioned, Say

pytestmark = pytest.mark.long
LINKS = {"virtio": desired.XDP_SLOT, "e1000e": desired.TUNED_SLOT}
STATE = (
    "ip -json address show; ip -json neigh show nud permanent; ip -json link show; "
    "ls -d /run/labkit* 2>/dev/null; cat /var/lib/labkit/journal.jsonl 2>/dev/null || true"
)


class Wired:
    """Labs of the two machines, and labkit here."""

    def __init__(self, folder: Path, inventory: Path, tester: Guest, dut: Guest) -> None:
        self.folder = folder
        self.inventory = inventory
        self.tester = tester
        self.dut = dut

    def topology(self, name: str, slot: int, **ports: str) -> Path:
        """A lab file with one link; `ports`: another interface for a role."""
        ends = {
            role: {
                "interface": ports.get(role, f"enp0s{slot}"),
                "ipv4": f"198.18.0.{n}/24",
                "ipv6": f"2001:2::{n}/64",
            }
            for role, n in (("tester", 1), ("dut", 2))
        }
        lab = {
            "description": "two emulated machines",
            "backends": ["kernel", "af_packet"],
            "hosts": {"tester": self.tester.name, "dut": self.dut.name},
            "links": [{"name": name, "kind": "nic", **ends}],
        }
        file = self.folder / f"{name}.yml"
        file.write_text(yaml.safe_dump(lab))
        return file

    def argv(self, *arguments: str) -> list[str]:
        """labkit's command line."""
        return [sys.executable, "-m", "labkit.cli", *arguments, "--inventory", str(self.inventory)]

    def trial(self, topology: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One trial."""
        return subprocess.run(
            self.argv("trial", "--topology", str(topology), *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=300 * self.dut.slower,
        )

    def states(self) -> tuple[str, str]:
        """What a lab could leave on either machine."""
        return self.tester.run(STATE).out, self.dut.run(STATE).out

    def eventually(self, holds: Callable[[], bool]) -> bool:
        """Whether it does within a while."""
        end = time.monotonic() + 60 * self.dut.slower
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(1)
        return True


@pytest.fixture(scope="module")
def wired(
    tester: Guest,
    dut: Guest,
    playbooks: Playbooks,
    provisioned: Provisioned,
    tmp_path_factory: pytest.TempPathFactory,
    say: Say,
) -> Iterator[Wired]:
    """Both machines with labkit from the role."""
    playbooks.host(tester, desired.TESTER)
    played = playbooks.play("site.yml", "--limit", tester.name, "--tags", "labkit_host")
    say(f"labkit is installed on the tester after {played.took_s:.0f} s")
    assert played.code == 0, played.output[-4000:]
    for slot in LINKS.values():
        for guest in (
            tester,
            dut,
        ):  # in use once: the kernel keeps the queue discipline of an interface that was up
            guest.run(f"ip link set enp0s{slot} up; sleep 2; ip link set enp0s{slot} down")
    yield Wired(tmp_path_factory.mktemp("wired"), playbooks.inventory, tester, dut)
    for guest in (tester, dut):
        # labkit's own journal, which is empty, is no change of a role's.
        guest.run("rm -f /var/lib/labkit/journal.jsonl; rmdir /var/lib/labkit 2>/dev/null || true")


@pytest.mark.parametrize("backend", ["kernel", "af_packet"])
@pytest.mark.parametrize("link", LINKS)
def test_frames_cross_the_cable_and_come_back(wired: Wired, link: str, backend: str, say: Say):
    before = wired.states()
    lab = wired.topology(link, LINKS[link])

    done = wired.trial(lab, "--backend", backend, "--load", "200 pps", "--duration", "2 s", "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    say(f"{backend} over {link}: {found['trial']}")
    assert found["proof"]["proven"], found["proof"]
    assert found["trial"]["received"] > 0.5 * found["trial"]["sent"] > 0, found["trial"]
    assert wired.states() == before


def test_the_interface_that_ssh_comes_in_by_is_refused(wired: Wired):
    before = wired.states()
    lab = wired.topology("management", desired.XDP_SLOT, dut="enp0s2")

    done = wired.trial(lab)

    assert done.returncode == 3, done.stderr
    assert "enp0s2 is left alone, because the way to this host needs it" in done.stderr
    assert wired.states() == before


def test_a_cable_that_is_pulled_out_is_named(wired: Wired):
    lab = wired.topology("virtio", desired.XDP_SLOT)
    wired.dut.plug(desired.XDP_SLOT, cable=False)
    try:
        done = wired.trial(lab)
    finally:
        wired.dut.plug(desired.XDP_SLOT, cable=True)

    assert done.returncode == 3, done.stderr
    assert "has no carrier" in done.stderr
    assert "check the cable" in done.stderr


def test_a_controller_that_is_killed_leaves_nothing_on_either_machine(wired: Wired):
    before = wired.states()
    lab = wired.topology("virtio", desired.XDP_SLOT)
    process = subprocess.Popen(
        wired.argv("trial", "--topology", str(lab), "--load", "200 pps", "--duration", "300 s"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        there = "pgrep -x labkit-probe-so"  # names are cut there
        assert wired.eventually(lambda: wired.dut.run(there, check=False).code == 0)
        assert wired.states() != before
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    assert wired.eventually(lambda: wired.states() == before)
