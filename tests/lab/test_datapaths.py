"""Every datapath carries IPv4 and IPv6, several flows and a mix of sizes; and a search finds what a DUT can do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.backends.probe_dut import interfaces, reflecting
from labkit.lab import topology_file
from labkit.lab.live import lab_up
from labkit.lab.topology import Topology
from labkit.measure.search import search, software_goals
from labkit.probe import build
from labkit.progress import Silent
from labkit.session import testbeds as running
from labkit.session.datapaths import Datapath, default_datapath, enumerate_datapaths
from labkit.session.plan import plan_for
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec
from labkit.testers.probe import generating

LABS = ("veth", "veth-forward", "vhost", "memif")
DATAPATHS = enumerate_datapaths([topology_file.load(name) for name in LABS])
CAP_PPS = 20_000
WAIT_S = 600.0
"""For a measurement of somebody else's on this machine to end."""


@pytest.fixture(scope="module", autouse=True)
def built_probe() -> None:
    build.build()


@pytest.mark.parametrize("datapath", DATAPATHS, ids=[d.key(frame="any").id for d in DATAPATHS])
def test_a_datapath_carries_both_families_flows_and_mixes(datapath: Datapath) -> None:
    with Session(Settings(store=False, wait_s=WAIT_S), progress=Silent()) as session:
        lacking = session.lacking(datapath)
        if lacking:
            pytest.skip("; ".join(lacking))
        for size, ip_version, flows in ((64, 4, 1), (84, 6, 8), ("imix", 4, 16), (1518, 6, 1)):
            frames = frame_spec(size, ip_version=ip_version, flows=flows)
            if datapath.mode.tcp and size == "imix":
                assert "the size of a message" in str(datapath.unfit(frames))
                continue
            trial, proof, _ = session.one_trial(datapath, frames, load_pps=5_000, duration_s=0.2)
            seen = (size, ip_version, flows, trial)
            # A busy machine loses a few; a path that does not carry them loses all.
            assert trial.received > 0.5 * trial.intended, seen
            assert (trial.duplicates, trial.corrupt) == (0, 0), seen
            assert proof.proven, proof


def with_mtu(name: str, mtu_bytes: int) -> Topology:
    lab_file = topology_file.load(name)
    return topology_file.parse(
        lab_file.text.replace("mtu: 1500 B", f"mtu: {mtu_bytes} B"), Path(f"{name}-{mtu_bytes}.yml")
    )


@pytest.mark.parametrize("name", ["veth", "veth-forward"])
def test_jumbo_frames_go_where_xdp_does_not(name: str) -> None:
    """Native XDP ends at a page: the tester takes another engine and says so, paths of XDP say which MTU they take."""
    with Session(Settings(store=False, wait_s=WAIT_S), progress=Silent()) as session:
        for datapath in enumerate_datapaths([with_mtu(name, 9000)]):
            if datapath.mode.tcp:  # no frames
                continue
            lacking = " ".join(session.lacking(datapath))
            if datapath.backend.name in ("xdp", "af_xdp") or datapath.mode.name in ("net_af_xdp", "gro"):
                assert "supports an MTU of at most" in lacking or "not permitted" in lacking, datapath.mode
                continue
            for frames in (frame_spec(64), frame_spec("imix"), frame_spec(9018)):
                if lacking or datapath.unfit(frames):
                    assert datapath.backend.name == "dpdk", lacking
                    continue
                trial, proof, tester = session.one_trial(datapath, frames, load_pps=2_000, duration_s=0.1)
                assert trial.received > 0.5 * trial.intended, (frames, trial)
                assert trial.corrupt == 0
                assert proof.proven
                assert tester["engine"] == "af_packet"
                assert "through AF_PACKET, not AF_XDP: " in str(tester["engine_note"])


def test_an_engine_that_was_asked_for_and_cannot_be_had_is_what_is_to_blame() -> None:
    with Session(Settings(store=False, wait_s=WAIT_S, tester_engine="af_xdp"), progress=Silent()) as session:
        kernel = default_datapath("kernel", [with_mtu("veth", 9000)])
        (reason,) = session.lacking(kernel)
        assert reason.startswith("the tester engine af_xdp was asked for: ")
        assert reason.endswith("(fix: leave --labkit-tester out)")


def test_an_mtu_that_xdp_still_takes_is_measured_with_it() -> None:
    with Session(Settings(store=False, wait_s=WAIT_S), progress=Silent()) as session:
        for datapath in enumerate_datapaths([with_mtu("veth", 3000)]):
            if session.lacking(datapath) or datapath.backend.name == "dpdk":
                continue
            trial, _, tester = session.one_trial(datapath, frame_spec(3018), load_pps=2_000, duration_s=0.1)
            assert trial.received > 0.5 * trial.intended, (datapath.backend.name, trial)
            if datapath.backend.name in ("xdp", "af_xdp"):
                assert (tester["engine"], tester.get("engine_note")) == ("xdp", None)


@pytest.mark.parametrize(
    "datapath",
    [d for d in enumerate_datapaths([with_mtu("veth", 2100)]) if d.mode.largest_frame_bytes],
    ids=lambda d: d.mode.name,
)
def test_a_mode_moves_frames_up_to_its_limit_and_none_beyond(datapath: Datapath) -> None:
    """Beyond it a driver drops frames, or cuts them short: then they came back, but not as they were sent."""
    limit = datapath.mode.largest_frame_bytes
    assert limit
    with Session(Settings(store=False, wait_s=WAIT_S), progress=Silent()) as session:
        lacking = session.lacking(datapath)
        if lacking:
            pytest.skip("; ".join(lacking))
        for size, moves in ((limit, True), (limit + 1, False)):
            frames = frame_spec(size)
            assert (datapath.unfit(frames) is None) == moves
            trial, _, _ = session.one_trial(datapath, frames, load_pps=2_000, duration_s=0.1)
            assert (trial.received > 0.5 * trial.intended) == moves, (size, trial)


@pytest.mark.parametrize("name", ["vhost", "memif"])
def test_shared_memory_carries_the_largest_frames_that_a_topology_may_ask_for(name: str) -> None:
    with Session(Settings(store=False, wait_s=WAIT_S), progress=Silent()) as session:
        (datapath,) = enumerate_datapaths([with_mtu(name, 2034)])
        if lacking := session.lacking(datapath):
            pytest.skip("; ".join(lacking))
        trial, _, _ = session.one_trial(datapath, frame_spec(2052), load_pps=2_000, duration_s=0.1)
        assert trial.received > 0.5 * trial.intended, trial


def test_a_search_finds_the_rate_that_a_dut_is_capped_at() -> None:
    """Within the search's width, on a machine that left both ends their cores meanwhile."""
    ndr, pdr = software_goals()
    disturbed = []
    with lab_up(topology_file.load("veth")) as lab:
        for _ in range(4):
            with (
                reflecting(
                    lab,
                    engine="af_packet",
                    ports=interfaces(lab),
                    judge=lambda *_: (True, ""),
                    impair={"cap_pps": CAP_PPS},
                ) as dut,
                generating(lab, "af_packet") as tester,
            ):
                tester.set_frames(frame_spec(64), own_mac=False)
                found = search(
                    tester, ndr=ndr, pdr=pdr, min_load_pps=2_000, max_load_pps=2 * CAP_PPS, max_search_s=15
                )
                switches = dut.counters()["involuntary_switches"] / found.duration_s
            stalled = sum(t.stall_total_s for t in found.trials) / sum(t.duration_s for t in found.trials)
            throughput_pps = found.pdr.conditional_throughput_pps or 0.0
            if abs(throughput_pps / CAP_PPS - 1) <= pdr.relative_width + pdr.loss_ratio:
                return
            disturbed.append(
                f"{throughput_pps:.0f} pps, tester stalled {stalled:.1%}, DUT switched {switches:.0f}/s"
            )
            if stalled < 0.001 and switches < 10:
                pytest.fail(f"a cap of {CAP_PPS} pps was taken for {disturbed[-1]}")
    pytest.skip(f"this machine is too busy for a figure: {disturbed}")


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Another program that wants all of this core."""
    loop = subprocess.Popen(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"]
    )
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def test_a_disturbed_maximum_offered_load_is_measured_again_when_a_measurement_is_repeated() -> None:
    datapath = default_datapath("kernel", [topology_file.load("veth")])
    frames = frame_spec(64)
    testbeds = running.Testbeds(
        plan_for(quick=True, rfc2544=False),
        tester_engine="af_packet",
        seed=None,
        progress=Silent(),
        on_topology=lambda *_: None,
    )
    try:
        with lab_up(topology_file.load("veth")) as lab, busy(lab.cores.tester):
            testbeds.use(lab)
            first = testbeds.max_offered_load(datapath, frames, again=False)
            assert "contention" in [gate.name for gate in first.disturbed], first
            assert testbeds.max_offered_load(datapath, frames, again=False) is first
        with lab_up(topology_file.load("veth")) as lab:
            testbeds.use(lab)
            for _ in range(10):
                last = testbeds.max_offered_load(datapath, frames, again=True)
                assert last.pps >= first.pps  # whatever the machine does: what was counted once counts
                if not last.disturbed:
                    break
            else:
                pytest.skip(f"this machine stays too busy: {last}")
            assert testbeds.max_offered_load(datapath, frames, again=True) is last
    finally:
        testbeds.close()
