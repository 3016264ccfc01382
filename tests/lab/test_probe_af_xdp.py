"""The AF_XDP engine on real veth pairs: exact counts, proofs that were read back, errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import engine_lab as lab
import pytest

from labkit.errors import ConfigInvalid, EnvironmentBroken
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


def xdp(wired: lab.VethLab, side: str, **options: object) -> Probe:
    place, core = (wired.tester, lab.CORES[0]) if side == "t" else (wired.dut, lab.CORES[-1])
    return Probe(
        "af_xdp", place, core=core, ports=lab.interfaces(side, wired.links), options=options, name=side
    )


@contextmanager
def both(wired: lab.VethLab, **options: object) -> Iterator[tuple[Probe, Probe]]:
    with xdp(wired, "d", **options) as dut, xdp(wired, "t", **options) as tester:
        lab.load_frames(tester)
        yield tester, dut


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attach": "generic"},
        {"bind": "copy"},
        {"wait": "poll"},
    ],
    ids=str,
)
def test_every_frame_is_reflected_once(one, options):
    with both(one, **options) as (tester, dut):
        dut.command("reflect")
        lab.assert_all_came_back(lab.generate(tester))
        counters = dut.command("stop")
    assert (counters["rx_frames"], counters["tx_frames"], counters["tx_dropped"]) == (4000, 4000, 0)


@pytest.mark.parametrize(("version", "size"), [(6, 84), (4, 1514), (6, 1514)])
def test_other_frames_come_back_too(one, version, size):
    with both(one) as (tester, dut):
        lab.load_frames(tester, version=version, size=size)
        dut.command("reflect")
        lab.assert_all_came_back(lab.generate(tester))


def test_chunks_are_not_lost_over_many_times_the_rings(one):
    with both(one, rx_ring=64, tx_ring=64) as (tester, dut):
        dut.command("reflect")
        for _ in range(3):  # overload: frames are lost, chunks must not be
            trial = lab.generate(tester, load_pps=None, duration_s=0.2)
            assert trial["sent"] > 1000
        # Slow enough that 64 frames of room outlast a busy machine's stalls, many times round the rings.
        lab.assert_all_came_back(lab.generate(tester, load_pps=1000, count=500), 500)


def test_frames_are_forwarded_between_two_ports(two):
    with both(two) as (tester, dut):
        dut.command("reflect", swap="none")
        lab.assert_all_came_back(lab.generate(tester))
        assert dut.command("stop")["tx_frames"] == 4000


def test_a_sink_counts_what_was_sent(one):
    with both(one) as (tester, dut):
        dut.command("sink", tag=lab.TAG)
        trial = lab.generate(tester, **{"return": False})
        counters = lab.drained(dut, 4000)
    assert trial["sent"] == counters["received"] == counters["rx_frames"] == 4000
    assert counters["duplicates"] == counters["reordered"] == 0


def test_what_is_no_test_traffic_goes_to_the_kernel(one):
    """ARP and TCP are answered by the DUT's kernel, past the redirect program."""
    for name, end, address in zip(one.names, ("t0", "d0"), ("198.18.9.1/24", "198.18.9.2/24"), strict=True):
        lab.run("ip", "-n", name, "addr", "replace", address, "dev", end)
    with xdp(one, "d") as dut:
        dut.command("sink", tag=lab.TAG)
        ask = (
            "import socket; socket.create_connection(('198.18.9.2', 9), timeout=5)"  # nobody listens: a reset
        )
        asked = ["ip", "netns", "exec", one.names[0], sys.executable, "-c", ask]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert "Connection refused" in done.stderr, done.stderr
        assert dut.command("stop")["rx_frames"] == 0


@pytest.mark.parametrize("attach", ["native", "generic"])
def test_the_proof_is_what_the_kernel_says(one, attach):
    with xdp(one, "d", attach=attach) as dut:
        port = dut.opened["proof"]["ports"][0]
        shown = lab.run("ip", "-n", one.names[1], "link", "show", "dev", "d0")
    assert (port["attach"], port["own_link"], port["program"]) == (attach, True, "labkit_xsk")
    assert (port["zerocopy"], port["busy_poll"]) == (False, False)
    assert ("xdpgeneric" in shown) == (attach == "generic")
    assert f"prog/xdp id {port['program_id']}" in shown
    assert "prog/xdp" not in lab.run("ip", "-n", one.names[1], "link", "show", "dev", "d0")


def test_busy_polling_without_a_napi_id_is_not_proven(one):
    """The kernel takes the options on veth; the socket's NAPI id shows whether it then polls anything."""
    with xdp(one, "d", busy_poll=True, busy_poll_budget=32) as dut:
        port = dut.opened["proof"]["ports"][0]
    assert port["busy_poll"] == (port["napi_id"] != 0)
    assert (port["prefer_busy_poll"], port["busy_poll_us"]) == (True, 20)


def test_zero_copy_is_refused_where_the_driver_has_none(one):
    with pytest.raises(EnvironmentBroken, match=r"Operation not supported.*no zero-copy"):
        xdp(one, "d", bind="zerocopy")


def test_a_queue_that_is_taken_is_named(one):
    with xdp(one, "d"), pytest.raises(EnvironmentBroken, match="another XDP program is attached there"):
        xdp(one, "d")


def test_a_closed_socket_leaves_its_queue_for_the_next(one):
    for _ in range(5):
        with both(one) as (tester, dut):
            dut.command("reflect")
            lab.assert_all_came_back(lab.generate(tester, count=200), 200)


@pytest.mark.parametrize(
    ("port", "options", "error", "words"),
    [
        ({"interface": "nosuch"}, {}, EnvironmentBroken, "nosuch: No such device"),
        ({"interface": "d0", "queue": 5}, {}, EnvironmentBroken, "no such queue"),
        ({"interface": "d0", "queue": 99}, {}, ConfigInvalid, "queue: expected an integer from 0 to 63"),
        ({"interface": "d0", "colour": 1}, {}, ConfigInvalid, "colour: unknown field"),
        ({"interface": "d0"}, {"bind": "maybe"}, ConfigInvalid, "bind: expected one of auto, copy, zerocopy"),
        ({"interface": "d0"}, {"rx_ring": 1000}, ConfigInvalid, "rx_ring: expected a power of two"),
        ({"interface": "d0"}, {"colour": 1}, ConfigInvalid, "colour: unknown field"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_is_refused_by_name(one, port, options, error, words):
    with pytest.raises(error, match=words):
        Probe("af_xdp", one.dut, core=None, ports=[port], options=options)


def test_too_little_lockable_memory_is_named(one):
    limited = (
        "prlimit",
        "--memlock=65536:65536",
        "setpriv",
        "--bounding-set=-ipc_lock",
        "--inh-caps=-ipc_lock",
    )
    place = lab.Place("limited", prefix=(*one.dut.prefix, *limited))
    with pytest.raises(EnvironmentBroken, match="memlock"):
        Probe("af_xdp", place, core=None, ports=lab.interfaces("d"))


def test_an_interface_that_is_down_is_named(one):
    lab.run("ip", "-n", one.names[1], "link", "set", "d0", "down")
    try:
        with pytest.raises(EnvironmentBroken, match="d0 is down"):
            xdp(one, "d")
    finally:
        lab.run("ip", "-n", one.names[1], "link", "set", "d0", "up")
