"""TCP through the kernel's sockets: counts are right, nothing blocks, and what goes wrong is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from labkit.backends import registry
from labkit.errors import EnvironmentBroken, LabkitError, ToolFailed
from labkit.lab import topology_file
from labkit.lab.live import Lab, lab_up
from labkit.measure.trial import TrialResult
from labkit.probe.build import build
from labkit.probe.client import Probe
from labkit.session.datapaths import Datapath, find_mode
from labkit.session.testbed import LiveTestbed, live_testbed
from labkit.testers.answer import transport, trial_from_answer
from labkit.testers.base import DrainTime, messages_for
from labkit.testers.frames import FrameSpec
from labkit.testers.probe import generating, port_arguments
from tests.lab.engine_lab import drained

PATIENT = DrainTime(quiet_ms=2000, max_ms=4000, late_share=None)
COUNT = 3000
CORES = sorted(os.sched_getaffinity(0))
"""Those of the machine: once a lab is up this process is on the controller's."""


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build(sanitize=False)
    build(sanitize=True)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_up(topology_file.load("veth")) as up:
        yield up


class Pair:
    """Probes at both ends of a lab, the DUT's reflecting unless it is to sink."""

    def __init__(self, lab: Lab, stack: ExitStack, *, ip_version: int = 4, **options: object) -> None:
        self.lab = lab
        sanitize = bool(options.pop("sanitize", False))

        def probe(role: str, ports: Any, core: int) -> Probe:
            bound, more = port_arguments(lab, ports, "socket", ip_version=ip_version)
            return stack.enter_context(
                Probe(
                    "socket",
                    ports[0].host,
                    core=core,
                    ports=bound,
                    options={**more, **options},
                    name=role,
                    sanitize=sanitize,
                )
            )

        self.dut = probe("dut", lab.dut_ports, lab.cores.dut)
        self.tester = probe("tester", lab.tester_ports, lab.cores.tester)

    def frames(self, size: int = 64, *, connections: int = 1, ip_version: int = 4) -> None:
        spec = FrameSpec(size=size, flows=connections, ip_version=4 if ip_version == 4 else 6)
        self.tester.command("frames", **messages_for(self.lab, spec))

    def generate(self, **arguments: object) -> TrialResult:
        """COUNT messages at 10 kpps where nothing else is said; patient, for a machine that is shared."""
        wanted = {"load_pps": 10_000, "tag": 1, "drain_quiet_ms": 2000, "drain_max_ms": 4000, **arguments}
        if "duration_s" not in wanted:
            wanted.setdefault("count", COUNT)
        return trial_from_answer(self.tester.command("generate", timeout_s=30, **wanted), overhead_s=0.0)


@pytest.mark.parametrize("options", [{"sanitize": True}, {"sanitize": True, "wait": "block"}, {}], ids=str)
@pytest.mark.parametrize(("ip_version", "connections", "size"), [(4, 1, 64), (6, 3, 1000), (4, 40, 9000)])
def test_all_messages_come_back_over_all_connections(
    lab: Lab, options: dict[str, object], ip_version: int, connections: int, size: int
) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack, ip_version=ip_version, **options)
        pair.dut.command("reflect")
        pair.frames(size, connections=connections, ip_version=ip_version)

        found = pair.generate(verify=True)

        assert (found.intended, found.sent, found.received) == (COUNT, COUNT, COUNT)
        assert (found.duplicates, found.stale, found.foreign, found.corrupt) == (0, 0, 0, 0)
        assert connections > 1 or found.reordered == 0
        kernel = found.tcp["tester"]
        assert (kernel.connections, kernel.bytes_received) == (connections, COUNT * size)
        assert kernel.bytes_sent - kernel.bytes_retransmitted == kernel.bytes_acked == COUNT * size
        counted = pair.dut.command("stop")
        assert (counted["rx_frames"], counted["tx_frames"], counted["tx_dropped"]) == (COUNT, COUNT, 0)
        assert transport(counted["transport"]).bytes_received == COUNT * size
        for probe in (pair.dut, pair.tester):
            proof = probe.command("proof")
            assert proof["descriptors"] == {"socket": connections}
            assert proof["established"] == proof["no_delay"] == connections
            assert proof["wait"] == options.get("wait", "spin")


def test_connections_stay_for_the_trials_after(lab: Lab) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack)
        pair.dut.command("reflect")
        pair.frames(200, connections=2)
        trials = [pair.generate(tag=tag) for tag in (1, 2, 3)]
        pair.frames(64, connections=2)

        after = pair.generate(tag=4)

        assert [one.received for one in trials] == [COUNT] * 3
        # What the kernel says is of one trial.
        assert [one.tcp["tester"].bytes_received for one in trials] == [COUNT * 200] * 3
        assert [one.tcp["tester"].opened for one in trials] == [2] * 3
        assert after.received == COUNT


def test_a_closed_loop_has_one_message_under_way(lab: Lab) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack, wait="block", busy_poll_us=50)
        assert pair.tester.command("proof")["socket"]["busy_poll_us"] in (0, 50)
        pair.dut.command("reflect")
        pair.frames()
        found = pair.generate(load_pps=None, loop="closed", count=500)
        assert found.received == found.sent == 500
        assert found.tcp["tester"].segments_out >= 500
        assert pair.tester.command("proof")["socket"]["busy_poll_us"] == 50


def test_a_dut_that_delays_a_millisecond_is_seen(lab: Lab) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack)
        pair.dut.command("reflect", impair={"delay_ns": 1_000_000})
        pair.frames(64, connections=2)
        found = pair.generate(load_pps=2000, count=500)
        assert found.received == 500
        assert found.rtt is not None
        assert 1_000_000 <= found.rtt.min_ns < 20_000_000


def test_a_dut_that_skips_messages_is_seen(lab: Lab) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack)
        pair.dut.command("reflect", impair={"drop_one_in": 10})
        pair.frames()
        found = pair.generate(count=1000, drain_quiet_ms=300)
        assert (found.received, found.lost) == (900, 100)


@pytest.mark.parametrize(("size", "connections"), [(64, 1), (9000, 1), (3000, 8)])
def test_overload_keeps_the_count_and_leaves_nothing_for_the_next_trial(
    lab: Lab, size: int, connections: int
) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack)
        pair.dut.command("reflect")
        pair.frames(size, connections=connections)
        drain = {"drain_quiet_ms": 5, "drain_max_ms": 10}

        full = pair.generate(load_pps=None, duration_s=0.3, tag=1, **drain)
        after = pair.generate(load_pps=2000, count=200, tag=2)

        assert full.sent >= full.received > 0
        assert (full.corrupt, full.duplicates, full.foreign) == (0, 0, 0)
        assert (after.received, after.stale, after.corrupt) == (200, 0, 0)


def test_answers_that_nobody_awaited_are_not_in_the_next_trial(lab: Lab) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack)
        pair.dut.command("reflect")
        pair.frames(777, connections=2)
        for tag in (1, 3):
            pair.generate(tag=tag, load_pps=None, duration_s=0.1, drain_max_ms=100, **{"return": False})
            found = pair.generate(tag=tag + 1)
            assert (found.received, found.stale, found.corrupt) == (COUNT, 0, 0)


def test_a_stream_counts_what_the_sink_took_in(lab: Lab) -> None:
    with ExitStack() as stack:
        pair = Pair(lab, stack, sanitize=True)
        pair.frames(5000, connections=2)
        for tag, load_pps in ((1, 2000), (2, None), (3, 2000)):
            pair.dut.command("sink", tag=tag)
            found = pair.generate(
                load_pps=load_pps, duration_s=0.3, tag=tag, late_ms=3000, **{"return": False}
            )
            counted = drained(pair.dut, found.sent)
            assert found.sent == counted["received"] > 0
            assert (counted["duplicates"], counted["corrupt"], counted["stale"]) == (0, 0, 0)
            assert found.tcp["tester"].bytes_acked == found.sent * 5000


@contextmanager
def server(lab: Lab, body: str) -> Iterator[None]:
    """A TCP server in Python at the DUT's address, which handles its first connection `one` by `body`."""
    address = lab.dut_ports[0].port.ipv4
    assert address is not None
    text = f"""
        import socket, struct, sys, time
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("{address.ip}", 7))
        listener.listen()
        print("ready", flush=True)
        one, _ = listener.accept()
    """
    text = textwrap.dedent(text) + "\n" + textwrap.dedent(body)
    program = subprocess.Popen(
        lab.dut_ports[0].host.argv([sys.executable, "-c", text]), stdout=subprocess.PIPE
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        yield
    finally:
        program.kill()
        program.wait()


def spec_trial(lab: Lab, *, size: int = 64, load_pps: float = 2000, duration_s: float = 0.5) -> TrialResult:
    with generating(lab, "socket", drain=DrainTime()) as tester:
        tester.set_frames(FrameSpec(size=size), own_mac=True)
        return tester.measure(load_pps=load_pps, duration_s=duration_s, verify=True)


def test_a_peer_that_reads_nothing_blocks_nobody(lab: Lab) -> None:
    with server(lab, "time.sleep(60)"):
        began = time.monotonic()
        found = spec_trial(lab, size=9000, load_pps=20_000, duration_s=1.0)
        assert time.monotonic() - began < 10
        assert found.received == 0
        assert found.unsent > 0
        assert found.tx_full > 0


READS_ALL_BUT_THE_FIRST = """
import threading
def take(one):
    while one.recv(1 << 20):
        pass
while True:
    other, _ = listener.accept()
    threading.Thread(target=take, args=(other,), daemon=True).start()
"""


@pytest.mark.parametrize(("load_pps", "together"), [(None, False), (20_000, True)], ids=["max", "load"])
def test_a_connection_that_takes_nothing_holds_up_the_others_under_a_load_alone(
    lab: Lab, load_pps: float | None, together: bool
) -> None:
    """Its buffers take some hundred messages. Without a load all that the others take counts."""
    with server(lab, READS_ALL_BUT_THE_FIRST), ExitStack() as stack:
        ports, more = port_arguments(lab, lab.tester_ports, "socket")
        tester = stack.enter_context(
            Probe("socket", lab.tester_ports[0].host, core=lab.cores.tester, ports=ports, options=more)
        )
        tester.command("frames", **messages_for(lab, FrameSpec(size=9000, flows=4)))
        found = trial_from_answer(
            tester.command(
                "generate", timeout_s=30, load_pps=load_pps, duration_s=1.0, tag=1, **{"return": False}
            ),
            overhead_s=0.0,
        )

        figures = found.tcp["tester"]
        assert figures.connections == 4
        assert figures.least_written_bytes is not None
        assert figures.most_written_bytes is not None
        # A message that begins to go is sent, and its rest waits.
        apart = figures.most_written_bytes - figures.least_written_bytes
        assert (apart <= 2 * 9000) == together, (apart, found)
        if together:
            assert found.unsent > 0
            assert found.tx_full > 0


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (
            "one.recv(65536); one.recv(1); one.close(); listener.close(); time.sleep(60)",
            "the other end closed it|Connection reset by peer|Broken pipe",
        ),
        (
            "time.sleep(0.1); one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); "
            "one.close(); time.sleep(60)",
            "Connection reset by peer|Broken pipe",
        ),
        (
            "[one.sendall(bytes(len(got))) for got in iter(lambda: one.recv(65536), b'')]",
            "no message begins where one must",
        ),
    ],
    ids=["closes", "resets", "answers zeros"],
)
def test_a_connection_that_ends_ends_the_trial_with_the_reason(lab: Lab, ending: str, words: str) -> None:
    with (
        server(lab, ending),
        pytest.raises(ToolFailed, match=rf"connection 1 of 1 to 198\.18\.0\.2:7: .*({words})"),
    ):
        spec_trial(lab, duration_s=5.0)


def test_a_byte_that_was_changed_is_corrupt(lab: Lab) -> None:
    body = "[one.sendall(got.replace(bytes(16), b'x' * 16)) for got in iter(lambda: one.recv(65536), b'')]"
    with server(lab, body):
        found = spec_trial(lab)
        assert found.corrupt > 0
        assert found.received == 0


def test_nobody_listening_is_refused(lab: Lab) -> None:
    with pytest.raises(EnvironmentBroken, match=r"connect: 198\.18\.0\.2:7: Connection refused"):
        spec_trial(lab)


@contextmanager
def measured_by(lab: Lab, mode: str) -> Iterator[LiveTestbed]:
    backend = registry.load("kernel")
    datapath = Datapath(topology=lab.topology, backend=backend, mode=find_mode(backend, lab.topology, mode))
    with live_testbed(lab, datapath, engine="socket", ip_version=4, drain=PATIENT) as running:
        running.set_frames(FrameSpec(size=200))
        yield running


@pytest.mark.parametrize("mode", ["tcp", "tcp_stream"])
def test_a_trial_is_proven_and_has_what_both_kernels_say(lab: Lab, mode: str) -> None:
    with measured_by(lab, mode) as running:
        found = [running.measure(load_pps=5000, duration_s=0.2) for _ in range(2)]
        for one in found:
            assert one.received == one.sent > 0
            assert one.tcp["dut"].bytes_received == one.tcp["tester"].bytes_acked == one.sent * 200
            assert (one.rtt is None) == (mode == "tcp_stream")
        proof = running.proof()
        assert proof.proven, proof
        assert proof.evidence["descriptors"] == {"socket": 1}


@pytest.mark.parametrize("mode", ["tcp", "tcp_stream"])
def test_a_dut_that_is_killed_is_named(lab: Lab, mode: str) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(measured_by(lab, mode))
        dut: Any = running._dut
        threading.Timer(0.3, os.kill, (dut._probe.pid, signal.SIGKILL)).start()
        with pytest.raises(LabkitError, match=r"dut \(labkit-probe-socket\) .*SIGKILL|killed"):
            running.measure(load_pps=1000, duration_s=5.0)


def test_what_the_kernel_sends_again_is_counted(lab: Lab) -> None:
    """For a while the tester's frames carry a MAC address that is not the DUT's: its kernel drops them."""
    port = lab.tester_ports[0]

    def neighbour(mac: str) -> None:
        words = [
            "ip",
            "neigh",
            "replace",
            "198.18.0.2",
            "lladdr",
            mac,
            "dev",
            str(port.interface),
            "nud",
            "permanent",
        ]
        subprocess.run(port.host.argv(words), check=True)

    with measured_by(lab, "tcp") as running:
        quiet = running.measure(load_pps=1000, duration_s=0.3)
        astray = [
            threading.Timer(0.3, neighbour, ("02:00:00:00:99:99",)),
            threading.Timer(0.6, neighbour, (port.peer.mac,)),
        ]
        for one in astray:
            one.start()
        try:
            found = running.measure(load_pps=1000, duration_s=1.0)
        finally:
            for one in astray:
                one.join()

        assert found.received == found.sent == 1000  # TCP loses nothing
        assert found.tcp["tester"].retransmitted_segments > 0
        assert found.tcp["tester"].bytes_retransmitted > 0
        assert found.rtt is not None
        assert found.rtt.max_ns > 200e6 > 0  # from the intended time
        assert quiet.tcp["tester"].bytes_retransmitted < found.tcp["tester"].bytes_retransmitted


SUITE = """
import pytest

@pytest.mark.kernel
@pytest.mark.on(topology="veth", mode="tcp", frame=256)
def test_ping_pong(measure, target):
    measure.mrr(flows=4)
    target(measure.latency("1 kpps", flows=4), p50="<= 1 s")

@pytest.mark.kernel
@pytest.mark.on(topology="veth", mode="tcp_stream")
def test_stream(measure, target):
    target(measure.mrr(frame_size_bytes=4000), mrr=">= 1 pps")

@pytest.mark.kernel
@pytest.mark.on(topology="veth", mode="tcp_stream")
def test_round_trips_of_a_stream(measure):
    measure.latency("1 kpps")

@pytest.mark.kernel
@pytest.mark.on(topology="veth", mode="tcp")
def test_bursts(measure):
    measure.back_to_back()
"""


def test_the_suite_measures_it_by_the_same_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(SUITE)
    done = subprocess.run(
        [
            *("taskset", "-c", ",".join(map(str, CORES))),
            *(sys.executable, "-m", "pytest", str(tmp_path), "-rs", "-p", "no:cacheprovider"),
            *("--labkit-quick", "--labkit-allow-invalid", "--labkit-retry", "0"),
            *("--labkit-results", str(tmp_path / "results")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kernel tcp messages 4 flows" in done.stdout
    assert "nothing comes back in the mode tcp_stream" in done.stdout
    assert "TCP loses nothing" in done.stdout
