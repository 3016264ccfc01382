"""The in-kernel XDP datapath on real veth pairs: exact counts, attach modes distinguished, errors by name."""

from __future__ import annotations

from collections.abc import Iterator

import engine_lab as lab
import pytest

from labkit.errors import ConfigInvalid, EnvironmentBroken, ToolFailed
from labkit.probe.build import build
from labkit.probe.client import Probe


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build()


@pytest.fixture(scope="module")
def one() -> Iterator[lab.VethLab]:
    with lab.VethLab() as wired:
        yield wired


@pytest.fixture(scope="module")
def two() -> Iterator[lab.VethLab]:
    with lab.VethLab(2) as wired:
        yield wired


def xdp(wired: lab.VethLab, **options: object) -> Probe:
    return Probe(
        "xdp", wired.dut, core=None, ports=lab.interfaces("d", wired.links), options=options, name="dut"
    )


def generator(wired: lab.VethLab, engine: str = "af_xdp") -> Probe:
    ports = lab.interfaces("t", wired.links)
    return Probe(engine, wired.tester, core=lab.CORES[0], ports=ports, name="tester")


@pytest.mark.parametrize(
    ("engine", "attach"),
    [("af_xdp", "native"), ("af_xdp", "generic"), ("af_packet", "generic")],
)
@pytest.mark.parametrize("version", [4, 6])
def test_every_frame_is_reflected_in_the_kernel(one, attach, engine, version):
    with xdp(one, attach=attach) as dut, generator(one, engine) as tester:
        lab.load_frames(tester, version=version)
        dut.command("reflect")
        lab.assert_all_came_back(lab.generate(tester))
        counters = dut.command("stop")
    assert (counters["rx_frames"], counters["tx_frames"], counters["tx_dropped"]) == (4000, 4000, 0)
    port = counters["ports"][0]
    assert (port["attach"], port["program"], port["own_link"]) == (attach, "reflect_all", True)


def test_a_peer_needs_an_xdp_program_to_be_sent_to_by_xdp_tx(one):
    """GRO alone gives a veth end NAPI, but XDP_TX of the other end does not wake it; any program does: `idle`."""
    passing = Probe("xdp", one.tester, core=None, ports=lab.interfaces("t"), name="passing")
    with xdp(one) as dut, passing, generator(one, "af_packet") as tester:
        lab.load_frames(tester)
        dut.command("reflect")
        lab.assert_all_came_back(lab.generate(tester))


@pytest.mark.parametrize("attach", ["native", "generic"])
def test_frames_are_redirected_between_two_ports(two, attach):
    with xdp(two, attach=attach) as dut, generator(two) as tester:
        lab.load_frames(tester)
        dut.command("reflect", swap="none")
        lab.assert_all_came_back(lab.generate(tester))
        counters = dut.command("stop")
    assert (counters["rx_frames"], counters["tx_frames"], counters["tx_dropped"]) == (4000, 4000, 0)
    assert [port["program"] for port in counters["ports"]] == ["redirect0_none", "redirect1_none"]


def test_a_sink_counts_unique_frames_of_its_tag(one):
    with xdp(one) as dut, generator(one) as tester:
        lab.load_frames(tester)
        dut.command("sink", tag=lab.TAG)
        assert lab.generate(tester, **{"return": False})["sent"] == 4000
        first = dut.command("counters")
        assert lab.generate(tester, **{"return": False})["sent"] == 4000  # the same sequence numbers again
        assert lab.generate(tester, tag=9, **{"return": False})["sent"] == 4000
        last = dut.command("stop")
    assert (first["received"], first["duplicates"], first["reordered"]) == (4000, 0, 0)
    assert (last["received"], last["duplicates"], last["stale"], last["rx_frames"]) == (
        4000,
        4000,
        4000,
        12000,
    )
    assert 0 < first["first_rx_ns"] < first["last_rx_ns"]


def test_counters_start_again_with_each_role(one):
    with xdp(one) as dut, generator(one) as tester:
        lab.load_frames(tester)
        for _ in range(2):
            dut.command("reflect", swap="mac")
            lab.assert_all_came_back(lab.generate(tester, count=100), 100)
            assert dut.command("stop")["rx_frames"] == 100
        assert lab.generate(tester, count=100)["received"] == 0  # stopped: the kernel has no use for them


def test_what_the_driver_dropped_after_the_verdict_is_no_frame_sent(one):
    """Without NAPI at the peer every XDP_TX frame is dropped by the driver: a count of verdicts would not see it."""
    lab.run("ip", "netns", "exec", one.names[0], "ethtool", "-K", "t0", "gro", "off")
    try:
        with xdp(one) as dut, generator(one, "af_packet") as tester:
            lab.load_frames(tester)
            dut.command("reflect")
            assert lab.generate(tester)["received"] == 0
            counters = dut.command("stop")
        assert (counters["rx_frames"], counters["tx_frames"], counters["tx_dropped"]) == (4000, 0, 4000)
    finally:
        lab.run("ip", "netns", "exec", one.names[0], "ethtool", "-K", "t0", "gro", "on")


def test_the_program_goes_with_its_process(one):
    dut = xdp(one)
    assert dut.opened["proof"]["ports"][0]["program"] == "idle"
    assert "prog/xdp" in lab.run("ip", "-n", one.names[1], "link", "show", "dev", "d0")
    dut._process.kill()
    dut._process.wait()
    dut.close()
    assert "prog/xdp" not in lab.run("ip", "-n", one.names[1], "link", "show", "dev", "d0")


@pytest.mark.parametrize(
    ("command", "arguments", "error", "words"),
    [
        ("reflect", {"impair": {"drop_one_in": 2}}, ConfigInvalid, "impair: expected none"),
        ("generate", {"load_pps": 10, "count": 1, "tag": 1}, ToolFailed, "generate"),
    ],
)
def test_what_it_has_not_is_refused(one, command, arguments, error, words):
    with xdp(one) as dut, pytest.raises(error, match=words):
        dut.command(command, **arguments)


def test_errors_name_the_interface_and_the_way_out(one):
    with pytest.raises(EnvironmentBroken, match="nosuch"):
        Probe("xdp", one.dut, core=None, ports=[{"interface": "nosuch"}])
    with pytest.raises(ConfigInvalid, match="attach: expected one of native, generic"):
        xdp(one, attach="offload")
    with xdp(one), pytest.raises(EnvironmentBroken, match="another XDP program"):
        xdp(one)
    no_rights = lab.Place(
        "no rights", prefix=(*one.dut.prefix, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    )
    with pytest.raises(EnvironmentBroken, match=r"Operation not permitted.*CAP_BPF"):
        Probe("xdp", no_rights, core=None, ports=lab.interfaces("d"))


def test_native_xdp_is_refused_where_the_mtu_is_too_large(one):
    for name, end in zip(one.names, ("t0", "d0"), strict=True):
        lab.run("ip", "-n", name, "link", "set", end, "mtu", "9000")
    try:
        with pytest.raises(EnvironmentBroken, match=r"attach XDP \(native\) to d0"):
            xdp(one)
        with xdp(one, attach="generic") as dut:
            assert dut.opened["proof"]["ports"][0]["attach"] == "generic"
    finally:
        for name, end in zip(one.names, ("t0", "d0"), strict=True):
            lab.run("ip", "-n", name, "link", "set", end, "mtu", "1500")
