"""The tester in the kernel: what it counts is what happened, what it can't do is named, nothing of it stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import engine_lab as lab
import pytest

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab import topology_file
from labkit.lab.links.live_frames import SPARE
from labkit.lab.links.veth import GRO
from labkit.lab.live import Lab, lab_up
from labkit.machine.interface import features_of
from labkit.machine.namespaces import inside
from labkit.machine.netlink import rtnetlink
from labkit.probe.build import build
from labkit.probe.client import Probe
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session, Settings
from labkit.testers.frames import FrameSpec, frame_spec
from labkit.testers.probe import generating

WAIT_S = 600
TRIAL = ("--backend", "kernel", "--load", "1 kpps")
LARGEST_BYTES = 3412
"""With FCS: what a page has room for."""


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build()


@contextmanager
def wired_with_spare(links: int) -> Iterator[lab.VethLab]:
    with lab.VethLab(links) as wired:
        lab.run(
            "ip", "-n", wired.names[0], "link", "add", "name", SPARE, "type", "veth", "peer", "name", "s1"
        )
        yield wired


@pytest.fixture(scope="module")
def one() -> Iterator[lab.VethLab]:
    with wired_with_spare(1) as wired:
        yield wired


@pytest.fixture(scope="module")
def two() -> Iterator[lab.VethLab]:
    with wired_with_spare(2) as wired:
        yield wired


def at_the_tester(wired: lab.VethLab, **options: object) -> Probe:
    options = {"spare": SPARE, **options}
    ports = lab.interfaces("t", wired.links)
    return Probe("xdp", wired.tester, core=lab.CORES[0], ports=ports, options=options, name="tester")


def at_the_dut(wired: lab.VethLab) -> Probe:
    return Probe("xdp", wired.dut, core=None, ports=lab.interfaces("d", wired.links), name="dut")


@pytest.mark.parametrize("version", [4, 6])
def test_every_frame_comes_back_from_the_kernel(one: lab.VethLab, version: int) -> None:
    with at_the_dut(one) as dut, at_the_tester(one) as tester:
        lab.load_frames(tester, version=version)
        dut.command("reflect")
        lab.assert_all_came_back(lab.generate(tester))
        proof = tester.command("proof")
        assert dut.command("stop")["rx_frames"] == lab.COUNT
    assert proof["ports"][0]["program"] == "receive"
    assert proof["generator"]["clock"]["read_overhead_ns"] > 0


def test_every_frame_comes_back_at_the_other_of_two_ports(two: lab.VethLab) -> None:
    with at_the_dut(two) as dut, at_the_tester(two) as tester:
        lab.load_frames(tester)
        dut.command("reflect", swap="none")
        lab.assert_all_came_back(lab.generate(tester))


@pytest.mark.parametrize("size", [64, 1518, LARGEST_BYTES])
def test_whole_frames_are_compared_up_to_the_largest(one: lab.VethLab, size: int) -> None:
    for name, end in zip(one.names, ("t0", "d0"), strict=True):
        lab.run("ip", "-n", name, "link", "set", end, "mtu", "3400")
    try:
        with at_the_dut(one) as dut, at_the_tester(one) as tester:
            lab.load_frames(tester, size=size)
            dut.command("reflect")
            lab.assert_all_came_back(lab.generate(tester, verify=True, count=500), 500)
            with pytest.raises(ConfigInvalid, match=f"t0 takes frames of up to {LARGEST_BYTES - 4} bytes"):
                lab.load_frames(tester, size=LARGEST_BYTES + 1)
    finally:
        for name, end in zip(one.names, ("t0", "d0"), strict=True):
            lab.run("ip", "-n", name, "link", "set", end, "mtu", "1500")


def test_frames_as_fast_as_it_goes_are_counted_to_the_frame(one: lab.VethLab) -> None:
    with at_the_dut(one) as dut, at_the_tester(one) as tester:
        lab.load_frames(tester)
        dut.command("sink", tag=lab.TAG)
        trial = lab.generate(tester, load_pps=None, duration_s=0.3, **{"return": False})
        sink = dut.command("stop")
    assert (sink["received"], sink["duplicates"], sink["reordered"]) == (trial["sent"], 0, 0)
    assert trial["sent"] > 10_000


@pytest.mark.parametrize("broken", ["no NAPI", "down"])
def test_frames_that_nobody_counted_make_the_trial_an_error(one: lab.VethLab, broken: str) -> None:
    """A veth without a NAPI, or one that is down, drops them without a count: they were not lost by a DUT."""
    name = one.names[1]
    change, back = {
        "no NAPI": (
            ("ip", "netns", "exec", name, "ethtool", "-K", "d0", "gro", "off"),
            ("ip", "netns", "exec", name, "ethtool", "-K", "d0", "gro", "on"),
        ),
        "down": (
            ("ip", "-n", name, "link", "set", "d0", "down"),
            ("ip", "-n", name, "link", "set", "d0", "up"),
        ),
    }[broken]
    with at_the_tester(one) as tester:
        lab.load_frames(tester)
        lab.run(*change)
        try:
            with pytest.raises(
                EnvironmentBroken, match=r"4000 frames were made, but its driver took 0 and refused 0"
            ):
                lab.generate(tester)
        finally:
            lab.run(*back)
        assert lab.generate(tester, **{"return": False})["sent"] == lab.COUNT, "the next trial is a new one"


def test_a_spare_port_is_attached_to_and_let_go(one: lab.VethLab) -> None:
    name = one.names[0]
    with at_the_dut(one) as dut, at_the_tester(one) as tester:
        lab.load_frames(tester)
        dut.command("reflect")
        lab.assert_all_came_back(lab.generate(tester))
        assert "generate" in lab.run("ip", "-n", name, "-details", "link", "show", "dev", SPARE)
        tester._process.kill()
        tester._process.wait()
    assert "xdp" not in lab.run("ip", "-n", name, "link", "show", "dev", SPARE)
    with at_the_tester(one, spare="nosuch") as tester:
        lab.load_frames(tester)
        with pytest.raises(EnvironmentBroken, match="spare: interface nosuch"):
            lab.generate(tester)


def gro_of(wired: Lab) -> bool:
    port = wired.dut_ports[0]
    with inside(port.host.pid):  # type: ignore[attr-defined]
        return features_of(str(port.interface))[GRO][0]


def test_the_duts_port_is_made_to_take_such_frames_for_the_time_and_it_is_said() -> None:
    with lab_up(topology_file.load("veth")) as wired:
        assert not gro_of(wired)
        with generating(wired, "xdp") as tester:
            assert gro_of(wired)
            assert "GRO is on at the DUT's port dut0" in str(tester.describe()["engine_note"])
            tester.set_frames(FrameSpec(), own_mac=True)
            assert tester.measure_one_way(load_pps=10_000, duration_s=0.1).sent == 1000
        assert not gro_of(wired)
        with inside(wired.tester_ports[0].host.pid), rtnetlink() as netlink:  # type: ignore[attr-defined]
            assert not netlink.link_lookup(ifname=SPARE)
        ports = [{"interface": "dut0"}]
        with (
            Probe("xdp", wired.dut_ports[0].host, core=None, ports=ports),
            generating(wired, "xdp") as tester,
        ):
            assert not gro_of(wired), "an XDP program gives the port its NAPI"
            assert "engine_note" not in tester.describe()


@pytest.mark.parametrize("name", ["veth", "veth-forward"])
def test_every_datapath_on_veth_is_measured_with_it(name: str) -> None:
    measured = set()
    with Session(Settings(store=False, wait_s=WAIT_S, tester_engine="xdp"), progress=Silent()) as session:
        for datapath in enumerate_datapaths([topology_file.load(name)]):
            if datapath.mode.name or datapath.backend.name == "dpdk" or session.lacking(datapath):
                continue
            trial, proof, tester = session.one_trial(datapath, frame_spec(64), load_pps=2_000, duration_s=0.3)
            assert tester["engine"] == "xdp"
            assert 0 < 0.5 * trial.sent < trial.received, (datapath, trial)
            assert proof.proven
            measured.add(datapath.backend.name)
    assert measured >= {"kernel", "af_packet", "xdp", "af_xdp"}


def test_on_nics_it_is_refused_by_name(tmp_path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "labkit.cli",
            *["trial", "--topology", "bare-metal", "--tester", "xdp"],
            *TRIAL,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode in (2, 3)
    assert "the tester engine xdp makes frames for veth, not for NICs" in done.stderr
