"""Which engine the tester uses on network interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid
from labkit.lab.topology import PROBE, TESTERS, LinkKind, Topology
from labkit.lab.topology_file import load, parse
from labkit.probe.cache import ENGINES
from labkit.progress import Silent
from labkit.session.capabilities import lacking, no_bursts, unfit
from labkit.session.datapaths import default_datapath, enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.session.testbeds import engine_of_path
from labkit.targets.evaluation import kernel_mode
from labkit.testers.frames import frame_spec
from labkit.testers.offered_load import LONGEST_S, far_engine, long_enough
from labkit.testers.probe import interface_engine


def test_engines_on_interfaces_are_named_as_the_probes_executables() -> None:
    assert set(TESTERS) - {PROBE, "trex"} < set(ENGINES)
    assert [interface_engine(name, option="--labkit-tester") for name in TESTERS] == [
        "probe",
        "xdp",
        "af_xdp",
        "af_packet",
        "dpdk",
        "trex",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("packet", "packet is now called af_packet"),
        ("bpf", "bpf is now called xdp"),
        ("socket", "socket does not generate Ethernet frames"),
        ("warp", "no such engine; expected probe, xdp, af_xdp, af_packet, trex, or on NICs dpdk"),
    ],
)
def test_what_cannot_generate_on_interfaces_is_refused_with_what_to_use(name: str, said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said) as caught:
        interface_engine(name, option="--labkit-tester")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("option", ["--tester", "--labkit-tester"])
def test_an_engine_that_does_not_fit_is_left_out_by_the_option_that_chose_it(option: str) -> None:
    settings = Settings(store=False, tester_engine="trex", tester_option=option)
    (dpdk,) = enumerate_datapaths([load("vhost")])
    with Session(settings, progress=Silent()) as session:
        (reason,) = session.lacking(dpdk)
    assert reason == (
        f"TRex has no driver for vhost-user links (fix: measure on memif, or leave {option} out)"
    )


def test_sockets_are_not_measured_over_ipv6_by_a_tester_that_leaves_the_checksum_wrong() -> None:
    for topology, skipped in (("veth", True), ("veth-forward", False)):
        kernel = default_datapath("kernel", [load(topology)])
        found = unfit(kernel, frame_spec(84, ip_version=6), engine="trex", tester_option="--tester")
        assert (found is not None) == skipped
        assert "leaves its UDP checksum" in (found or "leaves its UDP checksum")
        assert unfit(kernel, frame_spec(64), engine="trex", tester_option="--tester") is None
        assert unfit(kernel, frame_spec(84, ip_version=6), engine=None, tester_option="--tester") is None


def test_bursts_are_not_measured_by_a_tester_that_is_slower_to_start_than_they_are() -> None:
    kernel = default_datapath("kernel", [load("veth")])
    assert "before TRex's start" in (no_bursts(kernel, engine="trex", tester_option="--tester") or "")
    assert no_bursts(kernel, engine=None, tester_option="--tester") is None


def with_tester(name: str, tester: str) -> Topology:
    return parse(f"{load(name).text}\ntester: {tester}\n", Path(f"{name}.yml"))


def test_a_topology_names_its_tester_and_the_user_may_choose_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_TREX_DIR", raising=False)
    topology = with_tester("veth", "trex")
    kernel = default_datapath("kernel", [topology])
    (reason,) = lacking(kernel)
    assert reason.startswith(
        "the tester trex needs a TRex server, and none was given (fix: name the directory"
    )
    (reason,) = lacking(kernel, tester_engine="dpdk", tester_option="--tester")
    assert reason == "the tester engine dpdk drives NICs, not veth (fix: leave --tester out)"
    (dpdk,) = enumerate_datapaths([with_tester("vhost", "trex")])
    (reason,) = lacking(dpdk)
    assert reason.endswith("(fix: measure on memif, or leave the key tester of vhost.yml out)")


def test_an_unknown_tester_of_a_topology_is_refused_by_its_line() -> None:
    with pytest.raises(ConfigInvalid, match=r"veth\.yml:\d+: tester: expected one of .*trex, got 'trax'"):
        with_tester("veth", "trax")
    with pytest.raises(ConfigInvalid, match="a simulated lab has a tester of its own"):
        with_tester("sim", "trex")


@pytest.mark.parametrize(
    ("backend", "lacking_checks", "engine", "said"),
    [
        ("xdp", (), "xdp", ()),
        ("af_xdp", (), "xdp", ()),
        ("kernel", (), "af_xdp", ()),
        ("af_packet", (), "af_xdp", ()),
        ("xdp", ("live_frames",), "af_xdp", ("no frames in the kernel: live_frames",)),
        ("kernel", ("live_frames",), "af_xdp", ()),
        ("kernel", ("af_xdp",), "af_packet", ("not AF_XDP: af_xdp",)),
        ("xdp", ("bpf",), "af_packet", ("no frames in the kernel: bpf", "not AF_XDP: bpf")),
    ],
)
def test_a_path_is_measured_by_the_engine_that_takes_its_ports_as_they_are(
    backend: str, lacking_checks: Sequence[str], engine: str, said: Sequence[str]
) -> None:
    datapath = default_datapath(backend, [load("veth")])

    def fails(checks: Sequence[str]) -> str:
        return next((check for check in checks if check in lacking_checks), "")

    chosen, note = engine_of_path(LinkKind.VETH, datapath.mode, fails)
    assert chosen == engine
    assert bool(note) == bool(said)
    assert all(words in str(note) for words in said)
    on_nics, _ = engine_of_path(LinkKind.NIC, datapath.mode, fails, drivers={"ixgbe"})
    assert on_nics == ("af_packet" if {"bpf", "af_xdp"} & set(lacking_checks) else "af_xdp")
    on_virtio, why = engine_of_path(LinkKind.NIC, datapath.mode, fails, drivers={"virtio_net"})
    assert (on_virtio, "virtio_net may stop sending" in str(why)) == ("af_packet", True)


def test_frames_made_in_the_kernel_are_for_veth_alone() -> None:
    kernel = default_datapath("kernel", [load("bare-metal")])
    (reason,) = lacking(kernel, tester_engine="xdp", tester_option="--tester", check=lambda role, checks: ())
    assert reason == "the tester engine xdp makes frames for veth, not for NICs (fix: leave --tester out)"


def test_what_takes_frames_made_in_the_kernel_is_compared_with_a_kernel_that_does() -> None:
    veth = load("veth")
    assert {"", "gro"} <= {
        one.mode.name for one in enumerate_datapaths([veth]) if one.backend.name == "kernel"
    }
    key = default_datapath("xdp", [veth]).key(frame="64")
    assert [kernel_mode(key, engine) for engine in ("xdp", "af_xdp", None)] == ["gro", "", ""]


@pytest.mark.parametrize(
    ("under_way_s", "found_s"), [(0.0, 0.05), (0.15, 0.2), (1.0, 3.2), (10.0, LONGEST_S)]
)
def test_the_maximum_offered_load_is_measured_for_longer_than_frames_are_under_way(
    under_way_s: float, found_s: float
) -> None:
    assert long_enough(lambda span_s: 1000.0 if span_s > under_way_s else 0.0, 0.05) == pytest.approx(found_s)


def test_dpdk_does_not_generate_on_veth() -> None:
    settings = Settings(store=False, tester_engine="dpdk", tester_option="--tester")
    kernel = default_datapath("kernel", [load("veth")])
    with Session(settings, progress=Silent()) as session:
        (reason,) = session.lacking(kernel)
    assert reason == "the tester engine dpdk drives NICs, not veth (fix: leave --tester out)"


def test_on_nics_dpdk_needs_vfio_on_the_testers_host() -> None:
    kernel = default_datapath("kernel", [load("bare-metal")])

    def check(role: str, checks: Sequence[str]) -> tuple[str, ...]:
        return ("vfio_pci: no such module (fix: the role dpdk)",) if "vfio_pci" in checks else ()

    assert lacking(kernel, check=check) == ()
    (reason,) = lacking(kernel, tester_engine="dpdk", check=check)
    assert reason == (
        f"on {kernel.topology.hosts['tester']}: the tester engine dpdk was asked for: vfio_pci: no such module "
        "(fix: leave --labkit-tester out)"
    )


@pytest.mark.parametrize(
    ("engine", "xdp_ok", "in_memory", "receiver"),
    [
        ("xdp", True, False, "xdp"),
        ("af_xdp", True, False, "xdp"),
        ("af_xdp", False, False, "af_packet"),
        ("af_packet", True, False, "af_packet"),
        ("dpdk", True, False, "xdp"),
        ("dpdk", False, False, "af_packet"),
        ("dpdk", False, True, "dpdk"),
        ("trex", True, False, "xdp"),
        ("trex", False, False, "af_packet"),
        ("trex", True, True, "dpdk"),
    ],
)
def test_the_cheapest_receiver_is_opposite(
    engine: str, *, xdp_ok: bool, in_memory: bool, receiver: str
) -> None:
    assert far_engine(engine, xdp_ok=xdp_ok, in_memory=in_memory) == receiver
