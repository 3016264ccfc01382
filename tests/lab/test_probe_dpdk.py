"""The DPDK engine on shared memory and on veth: exact counts, what the EAL says of its ports and memory."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import engine_lab as lab
import pytest

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.probe.build import build, engine_path
from labkit.probe.client import Probe

NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
WANTED_PAGES = 160


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build()
    try:
        engine_path("dpdk")
    except EnvironmentBroken as missing:
        pytest.skip(str(missing))


@pytest.fixture
def hugepages() -> Iterator[None]:
    """Enough of them for two probes; put back to what it was."""
    before = NR_HUGEPAGES.read_text()
    try:
        if int(before) < WANTED_PAGES:
            NR_HUGEPAGES.write_text(str(WANTED_PAGES))
        if int(NR_HUGEPAGES.read_text()) < WANTED_PAGES:
            pytest.skip(f"no {WANTED_PAGES} hugepages: sysctl vm.nr_hugepages={WANTED_PAGES} after a boot")
        yield
    finally:
        NR_HUGEPAGES.write_text(before)


def memif(folder: Path) -> tuple[str, str]:
    """Values of --vdev for the DUT and the tester."""
    common = f"socket={folder}/s,socket-abstract=no"
    return f"net_memif0,role=server,{common}", f"net_memif0,role=client,{common}"


def vhost(folder: Path) -> tuple[str, str]:
    """The DUT connects again and again; the tester's port comes up when it does."""
    return (
        f"net_vhost0,iface={folder}/s,client=1",
        f"net_virtio_user0,path={folder}/s,server=1,queue_size=1024",
    )


def dpdk(side: str, vdev: str, *, place: lab.Place = lab.HERE, **options: object) -> Probe:
    core = lab.CORES[0] if side == "tester" else lab.CORES[-1]
    options = {"huge": False, **options}
    return Probe("dpdk", place, core=core, ports=[{"vdev": vdev}], options=options, name=side)


def runtime_directories() -> set[str]:
    """Of the probes; the EAL makes them in /run for root."""
    return {path.name for path in Path("/run/dpdk").glob("labkit-*")}


@contextmanager
def both(vdevs: tuple[str, str], **options: object) -> Iterator[tuple[Probe, Probe]]:
    with dpdk("dut", vdevs[0], **options) as dut, dpdk("tester", vdevs[1], **options) as tester:
        lab.load_frames(tester)
        yield tester, dut


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("link", [memif, vhost], ids=["memif", "vhost"])
def test_every_frame_is_reflected_once_without_hugepages(tmp_path, link, version):
    with both(link(tmp_path)) as (tester, dut):
        lab.load_frames(tester, version=version)
        dut.command("reflect")
        lab.generate(tester, load_pps=1000, count=20)  # the other end may still be at its handshake
        lab.assert_all_came_back(lab.generate(tester, load_pps=10000))
        for probe in (dut, tester):
            assert probe.opened["proof"]["hugepages"] is False
            assert probe.opened["proof"]["page_bytes"] == os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("link", [memif, vhost], ids=["memif", "vhost"])
def test_every_frame_is_reflected_once_on_hugepages(tmp_path, hugepages, link):
    with both(link(tmp_path), huge=True) as (tester, dut):
        dut.command("reflect")
        lab.generate(tester, load_pps=1000, count=20)
        lab.assert_all_came_back(lab.generate(tester, load_pps=10000))
        for probe in (dut, tester):
            assert probe.opened["proof"]["hugepages"] is True
            assert probe.opened["proof"]["page_bytes"] >= 2 << 20


@pytest.mark.parametrize("huge", [False, True])
def test_the_eal_leaves_no_directory_behind(tmp_path, hugepages, huge):
    before = runtime_directories()

    with both(memif(tmp_path), huge=huge) as (tester, dut):
        dut.command("reflect")
        lab.generate(tester, load_pps=1000, count=20)
        assert runtime_directories() == before, "a probe that is killed leaves none, either"


def test_the_largest_frames_come_back(tmp_path):
    with both(memif(tmp_path)) as (tester, dut):
        lab.load_frames(tester, size=1518)
        dut.command("reflect")
        lab.generate(tester, load_pps=1000, count=20)
        lab.assert_all_came_back(lab.generate(tester, load_pps=5000, count=1000), 1000)


def test_a_sink_counts_what_was_sent(tmp_path):
    with both(memif(tmp_path)) as (tester, dut):
        dut.command("sink", tag=lab.TAG)
        assert lab.generate(tester, load_pps=5000, count=1000, **{"return": False})["sent"] == 1000
        counters = lab.drained(dut, 1000)
    assert (counters["received"], counters["duplicates"], counters["reordered"]) == (1000, 0, 0)


@pytest.mark.parametrize("driver", ["net_af_packet", "net_af_xdp"])
def test_interfaces_are_reached_through_their_drivers(driver):
    with lab.VethLab() as wired:
        ends = [(wired.dut, "d0", "dut"), (wired.tester, "t0", "tester")]
        dut, tester = (dpdk(side, f"{driver}0,iface={end}", place=place) for place, end, side in ends)
        with dut, tester:
            assert dut.opened["proof"]["ports"][0]["driver"] == driver
            # Newer drivers tell the interface's own link, which comes up a while after the port.
            patience = time.monotonic() + 5
            while not dut.command("proof")["ports"][0]["link_up"]:
                assert time.monotonic() < patience
                time.sleep(0.02)
            lab.load_frames(tester)
            dut.command("reflect")
            lab.assert_all_came_back(lab.generate(tester, load_pps=5000, count=1000), 1000)


@pytest.mark.parametrize("link", [memif, vhost], ids=["memif", "vhost"])
def test_a_new_dut_meets_the_same_tester(tmp_path, link):
    dut_vdev, tester_vdev = link(tmp_path)
    with dpdk("dut", dut_vdev) as first, dpdk("tester", tester_vdev) as tester:
        lab.load_frames(tester)
        first.command("reflect")
        lab.generate(tester, load_pps=1000, count=20)
        lab.assert_all_came_back(lab.generate(tester, load_pps=5000, count=500), 500)
        first.close()
        with dpdk("dut", dut_vdev) as second:
            second.command("reflect")
            lab.load_frames(tester)  # a generator waits for the link when its frames are new
            lab.generate(tester, load_pps=1000, count=1500)
            lab.assert_all_came_back(lab.generate(tester, load_pps=5000, count=500), 500)


def test_it_runs_without_root_over_memif(tmp_path):
    """As nobody, in a user namespace, on ordinary memory."""
    program = tmp_path / "bin"
    program.mkdir(mode=0o755)
    shutil.copy2(engine_path("dpdk"), program / "labkit-probe-dpdk")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    sockets.chmod(0o777)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urn")
    run_it = ("sh", "-c", f'exec "{program}/labkit-probe-dpdk"')
    place = _Instead("nobody", prefix=(*nobody, "env", f"XDG_RUNTIME_DIR={sockets}", *run_it))
    dut_vdev, tester_vdev = memif(sockets)
    with dpdk("dut", dut_vdev, place=place) as dut, dpdk("tester", tester_vdev, place=place) as tester:
        assert Path(f"/proc/{dut.pid}/status").read_text().split("Uid:")[1].split()[1] == "65534"
        lab.load_frames(tester)
        dut.command("reflect")
        lab.generate(tester, load_pps=1000, count=20)
        lab.assert_all_came_back(lab.generate(tester, load_pps=5000, count=1000), 1000)


class _Instead(lab.Place):
    """Starts a program of its own: one that another user may read."""

    def argv(self, command, *, cleans_up=False):
        return list(self.prefix)


def test_a_generator_without_another_end_says_so(tmp_path):
    with dpdk("tester", f"net_vhost0,iface={tmp_path}/s") as tester:
        lab.load_frames(tester)
        with pytest.raises(EnvironmentBroken, match="has no link"):
            lab.generate(tester)
    with pytest.raises(EnvironmentBroken, match="needs its server first"):
        dpdk("tester", memif(tmp_path)[1])


@pytest.mark.parametrize(
    ("port", "options", "error", "words"),
    [
        ({"vdev": "net_nosuch0"}, {}, EnvironmentBroken, "net_nosuch0.*librte-net"),
        ({"vdev": "net_memif0,colour=1"}, {}, EnvironmentBroken, "net_memif0,colour=1"),
        ({"interface": "lo"}, {}, ConfigInvalid, "through a vdev"),
        ({}, {}, ConfigInvalid, "either vdev or pci"),
        ({"vdev": "net_memif0"}, {"descriptors": 1}, ConfigInvalid, "descriptors: expected an integer"),
        ({"vdev": "net_memif0"}, {"eal": "-l 1"}, ConfigInvalid, "eal: expected a list"),
        ({"vdev": "net_memif0"}, {"eal": ["--nonsense"]}, EnvironmentBroken, "rte_eal_init"),
        (
            {"vdev": "net_memif0"},
            {"memory_mb": 32, "descriptors": 32768},
            EnvironmentBroken,
            "too little EAL memory",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_is_refused_by_name(port, options, error, words):
    with pytest.raises(error, match=words):
        Probe("dpdk", lab.HERE, core=lab.CORES[0], ports=[port], options={"huge": False, **options})


def test_missing_hugepages_are_named_with_the_way_out():
    before = NR_HUGEPAGES.read_text()
    NR_HUGEPAGES.write_text("0")
    try:
        if int(NR_HUGEPAGES.read_text()):
            pytest.skip("hugepages are in use: end what uses them")
        with pytest.raises(EnvironmentBroken, match="nr_hugepages"):
            dpdk("dut", "net_null0", huge=True)
    finally:
        NR_HUGEPAGES.write_text(before)
