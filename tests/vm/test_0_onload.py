"""A real Onload in a stock guest: installed by the role, registered, used, broken in every way, upgraded, reverted.

On NICs of two kinds: virtio has XDP of its own, e1000e needs generic mode. Each is joined to another NIC of the same
guest, which is in a network namespace, so no other machine is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "ansible" / "collections"))
from ansible_collections.labkit.host.plugins.module_utils import onload_unit
from ansible_collections.labkit.host.plugins.module_utils import snapshot as snapshots

from labkit.doctor.host import openonload
from tests import real_onload
from tests.vm import image
from tests.vm.faults_there import inject_faults
from tests.vm.guest import Guest, Nic, link
from tests.vm.playbook import Playbooks, Played, Say

pytestmark = [pytest.mark.long, pytest.mark.onload]
NATIVE, NATIVE_PEER, GENERIC, GENERIC_PEER = 0x10, 0x11, 0x12, 0x13
"""Slots, each beside that of its peer."""
MODELS = {GENERIC: "e1000e"}
PEER = f"""
ip netns add peer
for pair in enp0s{NATIVE}:enp0s{NATIVE_PEER}:1 enp0s{GENERIC}:enp0s{GENERIC_PEER}:2; do
    own=${{pair%%:*}} rest=${{pair#*:}}
    other=${{rest%%:*}} net=${{rest#*:}}
    ip address replace 198.18.$net.1/24 dev $own
    ip link set $own up
    ip link set $other netns peer
    ip -n peer address replace 198.18.$net.2/24 dev $other
    ip -n peer link set $other up
done
"""
"""Gone with a reboot."""
ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 5000))
while True:
    server.sendto(*server.recvfrom(2048))
"""
PING = """
import os, socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.connect((sys.argv[1], 5000))
for number in range(100):
    client.send(b"%0100d" % number)
    assert client.recv(2048) == b"%0100d" % number
print(os.readlink(f"/proc/self/fd/{client.fileno()}"))
"""
FILES = "find /usr /lib/modules /etc -xdev -name __pycache__ -prune -o -print | sort"
MODULES = "lsmod | grep -c '^onload\\|^sfc_' || true"
SETTLED_S = 90
"""Until a stack is gone that outlived its process."""


class Onload:
    """The guest, and the role in it."""

    def __init__(self, guest: Guest, playbooks: Playbooks, archive: real_onload.Archive, say: Say) -> None:
        self.guest, self._playbooks, self._archive, self._say = guest, playbooks, archive, say

    def play(self, playbook: str = "site.yml", *, tags: str = "openonload", **more: object) -> Played:
        """Run it with these variables."""
        wanted: dict[str, object] = {
            "openonload_version": self._archive.version,
            "openonload_sha256": self._archive.sha256,
            "openonload_archive": str(self._archive.file),
            "openonload_interfaces": [{"name": f"enp0s{NATIVE}"}, {"name": f"enp0s{GENERIC}"}],
            "openonload_generic_xdp": True,
            "openonload_allow_unsupported_cpu": True,
            **more,
        }
        self._playbooks.host(self.guest, wanted)
        played = self._playbooks.play(playbook, "--limit", self.guest.name, "--tags", tags)
        self._say(f"{playbook} took {played.took_s:.0f} s and ended with {played.code}")
        return played

    def connect(self) -> None:
        """Addresses, and the peers in their namespace, where what is sent comes back."""
        self.guest.run(PEER)
        self.guest.run("cat >/run/echo.py; systemctl stop echo 2>/dev/null; true", stdin=ECHO)
        self.guest.run("systemd-run --unit=echo --collect ip netns exec peer python3 /run/echo.py")
        self.guest.run("cat >/run/ping.py", stdin=PING)

    def socket(self, net: int) -> str:
        """What a socket is that 100 datagrams went and came back by: onload:[udp:...] is accelerated."""
        alive = 'until [ -z "$(cat /proc/driver/onload/stacks)" ]; do sleep 1; done'
        self.guest.run(f"timeout {SETTLED_S} sh -c '{alive}'")
        done = self.guest.run(
            f"EF_NO_FAIL=0 timeout 60 onload -p latency python3 /run/ping.py 198.18.{net}.2"
        )
        return done.out.strip()

    def reboot(self) -> None:
        """And wait for it."""
        boot = self.guest.wait()
        self.guest.run("systemctl reboot", check=False)
        self.guest.wait(other_than=boot)


@pytest.fixture(scope="module")
def onload(
    onload_source: Path, stock_image: image.Image, playbooks: Playbooks, folder: Path, say: Say
) -> Iterator[Onload]:
    """A stock machine with Onload's archive for its kernel."""
    pairs = {slot: link() for slot in (NATIVE, GENERIC)}
    nics = []
    for slot, ends in pairs.items():
        for at, end in zip((slot, slot + 1), ends, strict=True):
            model = MODELS.get(at, "virtio-net-pci")
            nics.append(Nic(model, f"52:54:00:00:04:{at:02x}", at, end))
    try:
        with Guest("onload", stock_image, nics=nics, log=folder / "onload.console") as guest:
            guest.wait()
            kernel = guest.run("uname -r").out.strip()
            say(f"the machine for Onload is up; building Onload for {kernel}, unless it was ...")
            archive = real_onload.built(onload_source, kernel, image.cache())
            say(f"Onload {archive.version} is built")
            yield Onload(guest, playbooks, archive, say)
    finally:
        for ends in pairs.values():
            for end in ends:
                end.close()


@pytest.fixture(scope="module")
def stock(onload: Onload, playbooks: Playbooks) -> tuple[dict[str, object], str]:
    """Snapshot and files of the machine before anything of ours touched it."""
    playbooks.host(onload.guest, {})
    return playbooks.module(onload.guest.name, "labkit.host.snapshot")["snapshot"], onload.guest.run(
        FILES
    ).out


@pytest.fixture(scope="module")
def installed(onload: Onload, stock: tuple[dict[str, object], str]) -> Played:
    """Onload is installed, and both interfaces are registered. The tests leave it so."""
    assert stock[1]
    played = onload.play()
    assert played.code == 0, played.output[-4000:]
    onload.connect()
    return played


def test_cpu_that_onload_refuses_is_reported_before_anything_is_changed(onload: Onload, stock: object):
    cpu = onload.guest.run("cat /proc/cpuinfo").out
    if "AuthenticAMD" not in cpu or int(re.findall(r"^cpu family\s*:\s*(\d+)", cpu, re.MULTILINE)[0]) >= 23:
        pytest.skip("this guest's CPU is one that Onload takes")

    played = onload.play(openonload_allow_unsupported_cpu=False)

    assert played.code != 0
    assert "is one that Onload refuses: expected family 23 (Zen) or newer" in played.text
    assert onload.guest.run("test ! -e /var/lib/labkit && test ! -e /opt/openonload").code == 0


def test_traffic_is_accelerated_on_nics_with_and_without_native_xdp(onload: Onload, installed: Played):
    for net in (1, 2):
        assert onload.socket(net).startswith("onload:[udp:")


def test_second_run_changes_nothing(onload: Onload, installed: Played):
    again = onload.play()

    assert (again.code, again.changed_tasks()) == (0, []), again.output[-4000:]


def test_every_fault_is_detected_by_its_check(
    onload: Onload, installed: Played, playbooks: Playbooks, say: Say
):
    found = inject_faults(playbooks, say, host=onload.guest.name, part="^openonload")

    assert found["skipped"] == []
    assert set(found["detected"]) == {check.id for check in openonload.HOST_CHECKS}


def test_interfaces_are_registered_again_by_a_boot(onload: Onload, installed: Played):
    onload.reboot()
    onload.connect()

    for slot in (NATIVE, GENERIC):
        onload.guest.run(f"systemctl is-active '{onload_unit.unit(f'enp0s{slot}')}'")
    for net in (1, 2):
        assert onload.socket(net).startswith("onload:[udp:")


def test_registration_that_is_unsound_unloads_onload_at_once_and_the_host_lives_on(
    onload: Onload, installed: Played
):
    """Without the helper an interface in generic mode is not set up, and the kernel takes it nevertheless."""
    played = onload.play(openonload_interfaces=[{"name": f"enp0s{NATIVE}"}], openonload_generic_xdp=False)
    assert played.code == 0, played.output[-4000:]
    unit = onload_unit.unit(f"enp0s{GENERIC}")

    started = onload.guest.run(f"systemctl start '{unit}'", check=False)

    assert started.code != 0
    journal = onload.guest.run(f"journalctl -b --unit '{unit}' --output cat").out
    assert "was not registered soundly, and Onload was unloaded" in journal, journal
    assert onload.guest.run(MODULES).out.strip() == "0"
    onload.guest.run("sleep 10; dmesg | grep -c 'BUG:\\|Oops' | grep -qx 0")
    assert onload.play().code == 0
    assert onload.socket(2).startswith("onload:[udp:")


def test_another_version_takes_the_place_of_the_first(onload: Onload, installed: Played):
    version = f"{onload._archive.version}-again"

    played = onload.play(openonload_version=version)

    assert played.code == 0, played.output[-4000:]
    assert onload.guest.run("ls /opt/openonload").out.split() == [version]
    assert onload.socket(1).startswith("onload:[udp:")


def test_host_is_as_it_was_once_it_is_reverted(
    onload: Onload, stock: tuple[dict[str, object], str], installed: Played, playbooks: Playbooks
):
    played = onload.play("revert.yml", tags="openonload,replay,packages")
    assert played.code == 0, played.output[-4000:]
    assert onload.guest.run(MODULES).out.strip() == "0"
    onload.reboot()

    now = playbooks.module(onload.guest.name, "labkit.host.snapshot")["snapshot"]

    before, files = stock
    assert snapshots.compare(before, now) == []
    assert onload.guest.run(FILES).out == files
    onload.guest.run("! grep onload /etc/passwd /etc/group")
