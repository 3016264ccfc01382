"""Labs that are really up: what was asked for is what the kernel says."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import unprivileged

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab.live import Lab, LivePort, attach, down, lab_up, status, up
from labkit.lab.topology import Napi, Topology
from labkit.lab.topology_file import load
from labkit.machine import hugepages
from labkit.machine.cores import affinity
from labkit.machine.hosts import Host, NamespaceHost
from labkit.machine.namespaces import inside
from labkit.machine.process import identify

KERNEL_THREADS = any(comm.read_text() == "kthreadd\n" for comm in Path("/proc").glob("2/comm"))
"""Whether they can be seen from here: not in a container."""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@contextmanager
def within(host: Host) -> Iterator[None]:
    assert isinstance(host, NamespaceHost)
    with inside(host.pid):
        yield


def in_namespace(host: Host, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket made in a namespace stays there."""
    with within(host):
        made = socket.socket(family, kind, protocol)
    made.settimeout(2)
    return made


def families(port: LivePort) -> list[tuple[int, str, str]]:
    assert port.port.ipv4
    assert port.port.ipv6
    assert port.peer.ipv4
    assert port.peer.ipv6
    return [
        (socket.AF_INET, str(port.port.ipv4.ip), str(port.peer.ipv4.ip)),
        (socket.AF_INET6, str(port.port.ipv6.ip), str(port.peer.ipv6.ip)),
    ]


def facts(lab: Lab, name: str) -> dict[str, Any]:
    ports: Any = lab.facts["ports"]
    return dict(ports[name])


def test_datagrams_cross_a_veth_both_ways_in_both_families() -> None:
    with lab_up(load("veth")) as lab:
        tester, dut = lab.tester_ports[0], lab.dut_ports[0]
        for family, ours, theirs in families(tester):
            with (
                in_namespace(tester.host, family, socket.SOCK_DGRAM) as near,
                in_namespace(dut.host, family, socket.SOCK_DGRAM) as far,
            ):
                near.bind((ours, 7000))
                far.bind((theirs, 7001))
                near.sendto(b"there", (theirs, 7001))
                data, sender = far.recvfrom(64)
                assert (data, sender[0]) == (b"there", ours)
                far.sendto(b"back", sender)
                assert near.recv(64) == b"back"


def test_settings_are_what_the_kernel_says() -> None:
    with lab_up(load("veth")) as lab:
        for live, gro in ((lab.tester_ports[0], True), (lab.dut_ports[0], False)):
            got = facts(lab, live.port.name)
            assert (got["mtu_bytes"], got["mac"], got["qdisc"]) == (1500, live.port.mac, "noqueue")
            assert (got["tx_queues"], got["rx_queues"]) == (1, 1)
            assert set(got["addresses"]) == {str(live.port.ipv4), str(live.port.ipv6)}, (
                "and no link-local one"
            )
            assert live.peer.ipv4
            assert live.peer.ipv6
            peers = {str(live.peer.ipv4.ip), str(live.peer.ipv6.ip)}
            assert got["neighbours"] == dict.fromkeys(peers, live.peer.mac)
            assert got["offloads"].pop("rx-gro") is gro
            assert set(got["offloads"].values()) == {False}
            assert got["forwarding"] == {"ipv4": False, "ipv6": False}
            # By another way: the ethtool program, in there.
            output = subprocess.run(
                live.host.argv(["ethtool", "-k", str(live.interface)]),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for what in ("tx-checksumming", "generic-segmentation-offload", "tcp-segmentation-offload"):
                assert f"{what}: off" in output
            assert f"generic-receive-offload: {'on' if gro else 'off'}" in output
            assert live.host.path(f"/sys/class/net/{live.interface}/mtu").read_text() == "1500\n"


def test_an_idle_link_is_silent() -> None:
    with lab_up(load("veth")) as lab:
        time.sleep(0.5)
        counters = [
            Path(live.host.path(f"/sys/class/net/{live.interface}/statistics/tx_packets"))
            for live in (*lab.tester_ports, *lab.dut_ports)
        ]
        before = [path.read_text() for path in counters]
        time.sleep(1.5)
        assert [path.read_text() for path in counters] == before


def test_the_kernel_answers_no_port_unreachable() -> None:
    with lab_up(load("veth")) as lab:
        tester = lab.tester_ports[0]
        for family, _, theirs in families(tester):
            with in_namespace(tester.host, family, socket.SOCK_DGRAM) as near:
                near.connect((theirs, 7009))
                near.settimeout(0.2)
                near.send(b"anyone?")
                with pytest.raises(TimeoutError):
                    near.recv(64)  # ConnectionRefusedError, had it answered


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(0xFFFF - total)


def udp_frame(source: LivePort, target: LivePort, family: int, payload: bytes) -> bytes:
    """What a tester sends: to the DUT's MAC, to the address of the port beyond it."""
    length = 8 + len(payload)
    ethernet = bytes.fromhex((source.peer.mac + source.port.mac).replace(":", ""))
    if family == socket.AF_INET:
        assert source.port.ipv4
        assert target.port.ipv4
        ends = source.port.ipv4.ip.packed + target.port.ipv4.ip.packed
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, 17, 0) + ends
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        kind = 0x0800
    else:
        assert source.port.ipv6
        assert target.port.ipv6
        ends = source.port.ipv6.ip.packed + target.port.ipv6.ip.packed
        head = struct.pack("!IHBB", 6 << 28, length, 17, 64) + ends
        kind = 0x86DD
    pseudo = ends + struct.pack("!II", 17, length) + struct.pack("!HHHH", 7000, 7001, length, 0) + payload
    udp = struct.pack("!HHHH", 7000, 7001, length, checksum(pseudo)) + payload
    return ethernet + struct.pack("!H", kind) + head + udp


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_dut_forwards_from_the_first_link_to_the_second(family: int) -> None:
    with lab_up(load("veth-forward")) as lab:
        assert facts(lab, "dut0")["forwarding"] == {"ipv4": True, "ipv6": True}
        first, second = lab.tester_ports
        with (
            in_namespace(first.host, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as out,
            in_namespace(second.host, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as back,
        ):
            out.bind((str(first.interface), 0))
            back.bind((str(second.interface), 3))
            out.send(udp_frame(first, second, family, b"payload!"))
            frame = back.recv(2048)
            while not frame.endswith(b"payload!"):
                frame = back.recv(2048)
        assert frame[:12].hex(":") == f"{second.port.mac}:{second.peer.mac}", "readdressed by the DUT"
        assert frame[22 if family == socket.AF_INET else 21] == 63, "one hop less"


@pytest.mark.parametrize("napi", [Napi.THREADED, Napi.RPS])
def test_receiving_is_placed_on_the_receivers_core(napi: Napi) -> None:
    lab_file = load("veth")
    lab_file = replace(lab_file, links=(replace(lab_file.links[0], napi=napi),))
    with lab_up(lab_file) as lab:
        for name, core in (("tester0", lab.cores.tester), ("dut0", lab.cores.dut)):
            got = facts(lab, name)["napi"]
            assert got["asked"] == napi
            if napi is Napi.THREADED and not KERNEL_THREADS:
                assert "PID namespace" in str(got["refused"])
                assert not got["threaded"]
                continue
            assert got["refused"] is None
            if napi is Napi.THREADED:
                assert got["threaded"]
                assert [core] in got["threads"].values()
            else:
                assert int(got["rps_cpus"], 16) == 1 << core


@pytest.mark.parametrize("name", ["vhost", "memif"])
def test_ends_of_a_shared_memory_link_meet_in_a_private_directory(name: str) -> None:
    lab_file = load(name)
    lab_file = replace(lab_file, links=(replace(lab_file.links[0], hugepages=False),))
    with lab_up(lab_file) as lab:
        tester, dut = lab.tester_ports[0], lab.dut_ports[0]
        assert tester.interface is dut.interface is None
        assert tester.vdev
        assert dut.vdev
        (path,) = {part.split("=")[1] for part in f"{tester.vdev},{dut.vdev}".split(",") if ".sock" in part}
        assert len(path) < 108
        directory = dut.host.path(path).parent
        assert directory.stat().st_mode & 0o777 == 0o700
        assert not Path(path).parent.exists(), "nothing of it is seen outside"
        assert tester.host == dut.host
        assert lab.facts["hugepages"] is False


def test_hugepages_are_raised_and_reverted(state: Path) -> None:
    before = hugepages.pool()
    lab_file = load("memif")
    more = (before.free + 3) * before.size_bytes
    with lab_up(replace(lab_file, links=(replace(lab_file.links[0], memory_bytes=more),))) as lab:
        assert lab.facts["hugepages"] is True
        assert hugepages.pool().free >= before.free + 3
        assert "hugepages" in (state / "journal.jsonl").read_text()
    assert hugepages.pool().total == before.total
    assert (state / "journal.jsonl").read_text() == ""


def test_more_hugepages_than_there_is_memory_is_said_and_given_back() -> None:
    before = hugepages.pool().total
    lab_file = load("memif")
    with (
        pytest.raises(EnvironmentBroken, match=r"hugepages .* needed.*read back \d+") as caught,
        lab_up(replace(lab_file, links=(replace(lab_file.links[0], memory_bytes=1 << 42),))),
    ):
        pass
    assert "hugepages: no" in str(caught.value)
    assert hugepages.pool().total == before


def test_the_controller_stays_off_the_duts_core_for_the_time_of_the_lab() -> None:
    before = affinity(os.getpid())
    with lab_up(load("veth")) as lab:
        assert affinity(os.getpid())[os.getpid()] == set(lab.cores.controller)
        assert lab.cores.dut not in lab.cores.controller
    assert affinity(os.getpid())[os.getpid()] == before[os.getpid()]


def test_a_program_dies_with_its_starter() -> None:
    with lab_up(load("veth")) as lab:
        host = lab.dut_ports[0].host
        code = (
            "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdin=-3, stdout=-3); "
            "print(p.pid, flush=True); input()"
        )
        starter = subprocess.Popen(
            [sys.executable, "-c", code, *host.argv(["sleep", "60"])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert starter.stdout
        sleeper = identify(int(starter.stdout.readline()))
        deadline = time.monotonic() + 5
        while Path(f"/proc/{sleeper.pid}/comm").read_text() != "sleep\n" and time.monotonic() < deadline:
            time.sleep(0.01)
        starter.kill()
        starter.communicate()
        while sleeper.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not sleeper.alive


def test_up_and_down_take_less_than_a_second() -> None:
    took = []
    for _ in range(3):
        start = time.monotonic()
        with lab_up(load("veth")):
            pass
        took.append(time.monotonic() - start)
    assert min(took) < 1.0


def test_a_core_that_is_not_there_is_refused_before_anything_is_made() -> None:
    with pytest.raises(ConfigInvalid, match="available"), lab_up(replace(load("veth"), dut_core=60000)):
        pass


@pytest.fixture
def standing() -> Iterator[Topology]:
    lab_file = load("veth")
    yield lab_file
    down()


def test_a_lab_stands_until_down_for_any_process(standing: Topology) -> None:
    code = "from labkit.lab.live import up; from labkit.lab.topology_file import load; up(load('veth'))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    (record,) = status()
    assert record.alive
    assert record.interfaces == {"tester": ("tester0",), "dut": ("dut0",)}
    shell = subprocess.run(
        [*record.enter["dut"], "-c", "ls /sys/class/net"], capture_output=True, text=True, check=True
    )
    assert "dut0" in shell.stdout.split()
    lab = attach(record)
    assert facts(lab, "dut0")["mtu_bytes"] == 1500
    with pytest.raises(EnvironmentBroken, match="is up"):
        up(standing)
    assert [one.left for one in down()] == [None, None]
    assert not record.alive
    assert status() == []
    with pytest.raises(EnvironmentBroken, match="is no longer up"):
        attach(record)


def test_a_process_that_keeps_a_namespace_is_reported(standing: Topology) -> None:
    host = up(standing).host("dut")
    guest = subprocess.Popen(host.argv(["sleep", "60"]))
    deadline = time.monotonic() + 5
    while Path(f"/proc/{guest.pid}/comm").read_text() != "sleep\n" and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        left = [one.left for one in down() if one.left]
        assert len(left) == 1
        assert str(guest.pid) in left[0]
        assert guest.poll() is None, "it is not ours"
    finally:
        guest.kill()
        guest.wait()
    assert down() == []


def test_a_lab_that_failed_halfway_leaves_nothing(standing: Topology, state: Path) -> None:
    link = standing.links[0]
    broken = replace(standing, links=(replace(link, dut=replace(link.dut, mac="01:00:00:00:00:00")),))
    with pytest.raises(EnvironmentBroken, match="refused to wire"):
        up(broken)
    assert status() == []
    assert (state / "journal.jsonl").read_text() == ""


ROOTLESS = """
import subprocess
from dataclasses import replace
from labkit.lab.live import attach, down, lab_up, status, up
from labkit.lab.topology_file import load
memif = load("memif")
with lab_up(replace(memif, links=(replace(memif.links[0], memory_bytes=1 << 42),))) as lab:
    assert lab.facts["hugepages"] is False, lab.facts
    assert "user namespace" in str(lab.facts["privileges"])
with lab_up(load("veth-forward")) as lab:
    assert lab.facts["ports"]["dut0"]["forwarding"] == {"ipv4": True, "ipv6": True}
    there = lab.dut_ports[0].host.argv(["cat", "/sys/class/net/dut0/address"])
    assert subprocess.run(there, capture_output=True, text=True).stdout == "02:00:00:00:00:02\\n"
up(load("veth"))
"""
ROOTLESS_LATER = """
from labkit.lab.live import attach, down, status
(record,) = status()
assert record.alive and record.rootless
lab = attach(record)
assert lab.facts["ports"]["dut0"]["mtu_bytes"] == 1500
assert [one.left for one in down()] == [None, None]
"""


def test_labs_come_up_without_root(tmp_path: Path) -> None:
    for code in (ROOTLESS, ROOTLESS_LATER):
        done = unprivileged.run(["-c", code], probe=tmp_path, home=tmp_path)
        assert done.returncode == 0, done.stderr


REFUSED = """
import threading, time
from labkit.errors import EnvironmentBroken
from labkit.machine.privilege import ensure_privileges
{before}
try:
    print(ensure_privileges())
except EnvironmentBroken as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("before", "wrapper", "said"),
    [
        (
            "threading.Thread(target=time.sleep, args=(2,), daemon=True).start()",
            "",
            "before threads start, or: sudo ",
        ),
        ("", "echo 0 > /proc/sys/user/max_user_namespaces", "sudo sysctl -w user.max_user_namespaces=10000"),
    ],
)
def test_a_user_who_may_not_is_shown_what_would_help(before: str, wrapper: str, said: str) -> None:
    environment = {**os.environ, **unprivileged.SEEN}
    user = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    if wrapper:  # in a user namespace of its own, where the setting is its own too
        user, start = (
            "setpriv --bounding-set=-all --inh-caps=-all",
            ["unshare", "--user", "--map-root-user", "sh", "-c"],
        )
    else:
        start = ["sh", "-c"]
    script = f'{wrapper or "true"}; exec {user} {unprivileged.PYTHON} -c "$CODE"'
    environment["CODE"] = REFUSED.format(before=before)
    done = subprocess.run(
        [*unprivileged.below_mnt(), *start, script],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert said in done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("dpdk-testpmd") is None, reason="needs dpdk-testpmd: apt install dpdk-dev")
@pytest.mark.parametrize(("name", "hugepages_wanted"), [("memif", False), ("memif", True), ("vhost", True)])
def test_two_testpmd_pass_frames_over_a_shared_memory_link(name: str, hugepages_wanted: bool) -> None:
    lab_file = load(name)
    link = replace(lab_file.links[0], hugepages=hugepages_wanted)
    with lab_up(replace(lab_file, links=(link,))) as lab, ExitStack() as stack:
        assert lab.facts["hugepages"] is hugepages_wanted
        memory = ["--in-memory", "--single-file-segments"] if hugepages_wanted else ["--no-huge", "-m", "256"]

        def testpmd(port: LivePort, core: int, mode: str) -> subprocess.Popen[str]:
            command = [
                "dpdk-testpmd", f"--lcores=(0,1)@{core}", "--no-pci", f"--file-prefix={mode}", *memory,
                f"--vdev={port.vdev}", "--", f"--forward-mode={mode}", "--auto-start", "--total-num-mbufs=8192",
                "--stats-period=1", "--no-lsc-interrupt",
            ]  # fmt: skip
            started = subprocess.Popen(port.host.argv(command), stdin=-1, stdout=-1, stderr=-2, text=True)
            stack.callback(started.communicate)
            stack.callback(started.kill)
            return started

        testpmd(lab.dut_ports[0], lab.cores.dut, "macswap")
        socket_file = lab.dut_ports[0].host.path(f"/run/labkit/{link.name}.sock")
        deadline = time.monotonic() + 20
        while not socket_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        tester = testpmd(lab.tester_ports[0], lab.cores.tester, "flowgen")
        assert tester.stdout
        said = []
        while time.monotonic() < deadline:
            said.append(tester.stdout.readline())
            if said[-1].lstrip().startswith("Rx-pps:") and int(said[-1].split()[1]) > 1000:
                return
        pytest.fail("no frame came back:\n" + "".join(said))
