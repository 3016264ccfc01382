"""A lab of two hosts with two cables: the DUT forwards from one to the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.ssh_host import TwoHosts
from tests.lab.two_hosts import NEEDS_SSH_SERVER, RUN_S, eventually

pytestmark = [pytest.mark.beside, NEEDS_SSH_SERVER]


def two_cables(two: TwoHosts, *, crossed: bool) -> None:
    """A second cable, and a lab file in which each leads from a port to the one of the same number."""
    ends = [str(place.process.pid) for place in (two.here, two.alpha)]
    subprocess.run(
        [
            "ip",
            "link",
            "add",
            "nic1",
            "netns",
            ends[0],
            "type",
            "veth",
            "peer",
            "name",
            "nic1",
            "netns",
            ends[1],
        ],
        check=True,
    )
    two.use("nic1")
    if crossed:
        two.alpha.run(
            "sh", "-ec", "ip link set nic0 name was0; ip link set nic1 name nic0; ip link set was0 name nic1"
        )
    lab = json.loads(two.topology.read_text())
    other = json.loads(
        json.dumps(lab["links"][0]).replace("198.18.0.", "198.18.1.").replace("2001:2::", "2001:2:0:1::")
    )
    lab["links"].append({**json.loads(json.dumps(other).replace("nic0", "nic1")), "name": "second"})
    lab["backends"] = ["af_packet"]
    two.topology.write_text(json.dumps(lab))


def test_frames_are_forwarded_from_one_cable_to_the_other(two: TwoHosts) -> None:
    two_cables(two, crossed=False)
    done = two.trial("--backend", "af_packet", "--duration", "200 ms", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proof"]["proven"]


@pytest.mark.parametrize("ip", [(), ("--ipv6", "--frame", "84")])
def test_the_kernel_forwards_from_one_cable_to_the_other_and_nowhere_else(
    two: TwoHosts, ip: tuple[str, ...]
) -> None:
    if ip and not Path("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists():
        pytest.skip(
            "before Linux 6.17 the kernel forwards IPv6 between all interfaces of a host, or between none"
        )
    two_cables(two, crossed=False)
    lab = json.loads(two.topology.read_text())
    two.topology.write_text(json.dumps({**lab, "backends": ["kernel"]}))
    before = (two.here.state(), two.alpha.state())
    done = two.trial("--duration", "200 ms", "--json", *ip)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    evidence = found["proof"]["evidence"]
    assert found["proof"]["proven"]
    assert evidence["forwarded_datagrams"] >= found["trial"]["received"] > 0
    assert evidence.get("net/ipv6/conf/all/forwarding", "0") == "0"
    assert (two.here.state(), two.alpha.state()) == before


SENDS = """
import socket, time
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("nic1", 0))
while True:
    sender.send(bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46))
    time.sleep(0.001)
"""


def test_what_another_program_sends_is_not_taken_for_forwarding_by_the_kernel(two: TwoHosts) -> None:
    two_cables(two, crossed=False)
    lab = json.loads(two.topology.read_text())
    two.topology.write_text(json.dumps({**lab, "backends": ["kernel"]}))
    process = subprocess.Popen(
        two.argv("trial", "--duration", "3 s", "--load", "1 kpps", "--json"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert eventually(
        lambda: "state UP" in two.alpha.run("ip", "link", "show", "nic1") or process.poll() is not None
    )
    with subprocess.Popen([*two.alpha.enter, sys.executable, "-c", SENDS]) as sender:
        output, _ = process.communicate(timeout=RUN_S)
        sender.kill()
    found = json.loads(output)
    assert found["trial"]["received"] > 0
    assert found["proof"]["evidence"]["sent_frames"] > found["proof"]["evidence"]["forwarded_datagrams"]
    assert not found["proof"]["proven"]


def test_crossed_cables_are_named_and_nothing_is_left_changed(two: TwoHosts) -> None:
    two_cables(two, crossed=True)
    before = (two.here.state(), two.alpha.state())
    done = two.trial("--backend", "af_packet")
    assert done.returncode == 3
    assert f"the cables are not as {two.topology} says" in done.stderr
    assert "nic0 of here leads to nic1 of alpha, not to nic0 of alpha (link cable)" in done.stderr
    assert "nic1 of here leads to nic0 of alpha, not to nic1 of alpha (link second)" in done.stderr
    assert "swap the ports" in done.stderr
    assert (two.here.state(), two.alpha.state()) == before
