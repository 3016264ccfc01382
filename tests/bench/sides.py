"""How each side of the comparisons reaches its figure, in a lab that is up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from pairs import Disturbed
from tools import iperf3, sockperf, testpmd

from labkit.backends import registry
from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.lab import topology_file
from labkit.lab.commands import Command, Ready
from labkit.lab.live import Lab, LivePort
from labkit.lab.topology import Topology
from labkit.machine import hugepages
from labkit.measure import noise
from labkit.measure.histogram import percentiles_us
from labkit.measure.latency import IDLE_LOAD_PPS
from labkit.measure.trial import TrialResult
from labkit.probe.build import engine_path
from labkit.probe.client import Probe
from labkit.session.datapaths import Datapath, find_mode
from labkit.session.machines import reader
from labkit.session.testbed import Testbed, live_testbed
from labkit.testers.answer import trial_from_answer
from labkit.testers.base import ECHO_PORT, SOFTWARE_DRAIN, SOURCE_PORT, messages_for
from labkit.testers.frames import FrameSpec, frames_command
from labkit.testers.offered_load import far_engine, measure_max_offered_load
from labkit.testers.probe import port_arguments

Measure = Callable[[Lab], float]

FRAME = FrameSpec(size=64)
PAYLOAD_BYTES = 18  # of a 64-byte frame
RUN_S = 1.0
PING_PONG_BYTES, STREAM_BYTES = 64, 8192  # of a message over TCP
AS_COMMAND = "probe"
"""The command of `probe_as_command`."""


def testbed(stack: ExitStack, lab: Lab, backend: str, mode: str, engine: str) -> Testbed:
    """A backend on the DUT and an engine as the tester, with frames set, until the stack is closed."""
    found = registry.load(backend)
    datapath = Datapath(topology=lab.topology, backend=found, mode=find_mode(found, lab.topology, mode))
    running = stack.enter_context(
        live_testbed(lab, datapath, engine=engine, ip_version=4, drain=SOFTWARE_DRAIN)
    )
    running.set_frames(FRAME)
    return running


def _trial(
    lab: Lab,
    backend: str,
    mode: str,
    engine: str,
    *,
    load_pps: float | None,
    warm_up_s: float,
    gated: bool = False,
) -> TrialResult:
    """The second of two trials. Raises ToolFailed where the datapath is not proven; `gated`: Disturbed, by labkit's own
    gates.
    """
    with ExitStack() as stack:
        running = testbed(stack, lab, backend, mode, engine)
        running.measure(load_pps=load_pps, duration_s=warm_up_s)
        before = running.read()
        found = running.measure(load_pps=load_pps, duration_s=RUN_S)
        after = running.read()
        proof = running.proof()
        if not proof.proven:
            raise ToolFailed(f"{backend} {mode}: the datapath is not proven: {proof.claim}")
        gates = noise.gates(
            before=before,
            after=after,
            intended_cores=running.cores(),
            deciding=(found,),
            proven=proof.proven,
            claim=proof.claim,
        )
        if gated and (invalid := [f"{gate.name} {gate.value}" for gate in gates if gate.state == "invalid"]):
            raise Disturbed(f"{backend} {mode}".strip() + f": {', '.join(invalid)}")
        return found


def mrr_pps(backend: str, engine: str, mode: str = "", *, gated: bool = False) -> Measure:
    """Frames a second that came back, all checked and timed, while the tester sent as fast as it could."""
    return lambda lab: (
        _trial(lab, backend, mode, engine, load_pps=None, warm_up_s=0.3, gated=gated).forwarding_rate_pps
    )


def idle_rtt_us(backend: str, engine: str, mode: str = "", *, gated: bool = False) -> Measure:
    """Median round trip at a load that is negligible."""
    return lambda lab: _median_us(
        _trial(lab, backend, mode, engine, load_pps=IDLE_LOAD_PPS, warm_up_s=0.1, gated=gated)
    )


def _median_us(trial: TrialResult) -> float:
    if trial.rtt is None or not trial.received:
        raise ToolFailed(f"nothing came back of {trial.sent} frames")
    return percentiles_us(trial.rtt, (50,))[50] or float("nan")


def probe_as_command() -> Topology:
    """The lab veth, with the echo of the backend `kernel` as a program of one's own: same executable, same commands.

    It reads them from a pipe that a shell keeps open, for a program of one's own has no input.
    """
    address = {"bind": "$LABKIT_ADDRESS", "port": "$LABKIT_PORT"}
    opened = {"id": 1, "cmd": "open", "core": "$LABKIT_CORE", "ports": [address], "options": {}}
    # Numbers are no JSON before they are put in.
    words = [
        json.dumps(opened).replace('"$LABKIT_PORT"', "$LABKIT_PORT").replace('"$LABKIT_CORE"', "$LABKIT_CORE")
    ]
    words += [json.dumps({"id": 2, "cmd": "reflect", "swap": "all"})]
    feed = '{ printf "%s\\n" "$@"; exec sleep infinity; } | "$0"'
    command = Command(
        name=AS_COMMAND,
        argv=("sh", "-c", feed, str(engine_path("socket")), *words),
        ready=Ready(prints='"id":2,"ok":true'),
        proof="udp_socket",
    )
    return replace(topology_file.load("veth"), backends=("kernel", "command"), commands=(command,))


def pair_of_testpmd_pps(driver: str) -> Measure:
    """Two testpmds, by a driver of the lab's interfaces or, where that is empty, on its shared-memory devices."""

    def measure(lab: Lab) -> float:
        ends = (lab.tester_ports[0], lab.dut_ports[0])
        vdevs = [
            f"{driver}{i},iface={end.interface}" if driver else str(end.vdev) for i, end in enumerate(ends)
        ]
        if not lab.facts.get("hugepages") and hugepages.pool().free < 256:
            raise EnvironmentBroken(
                f"two testpmds need 256 free hugepages, {hugepages.pool().free} are there",
                hint="ansible/apply-local --tags hugepages",
            )
        generator, reflector = (
            testpmd.Testpmd(
                core=core,
                control_core=lab.cores.controller[0],
                vdev=vdev,
                forward_mode=forward_mode,
                prefix=f"bench-{role}",
            )
            for core, vdev, forward_mode, role in (
                (lab.cores.tester, vdevs[0], "flowgen", "generator"),
                (lab.cores.dut, vdevs[1], "macswap", "reflector"),
            )
        )
        hosts = (ends[0].host, ends[1].host)
        return testpmd.pair_rate_pps(hosts, generator, reflector, warm_up_s=0.5, duration_s=RUN_S)

    return measure


def _address(lab: Lab) -> str:
    return str(lab.dut_ports[0].port.ipv4.ip)  # type: ignore[union-attr]


def _udp(lab: Lab, stack: ExitStack, options: Mapping[str, object]) -> tuple[Probe, Probe]:
    """A generating and a receiving socket probe on the lab's ports, with the frames set."""
    tester, dut = lab.tester_ports[0], lab.dut_ports[0]
    own = str(tester.port.ipv4.ip)  # type: ignore[union-attr]

    def start(
        live: LivePort, core: int, name: str, bind: Mapping[str, object], given: Mapping[str, object]
    ) -> Probe:
        return stack.enter_context(
            Probe("socket", live.host, core=core, ports=[bind], options=given, name=name)
        )

    of_receiver = {name: value for name, value in options.items() if name != "gso"}
    receiver = start(dut, lab.cores.dut, "dut", {"bind": _address(lab), "port": ECHO_PORT}, of_receiver)
    sender = start(tester, lab.cores.tester, "tester", {"bind": own, "port": 0}, options)
    sender.command(
        "frames",
        **frames_command(
            FRAME,
            src_mac=tester.port.mac,
            dst_mac=dut.port.mac,
            src_ip=own,
            dst_ip=_address(lab),
            src_port=SOURCE_PORT,
            dst_port=ECHO_PORT,
        ),
    )
    return sender, receiver


def _tcp(lab: Lab, stack: ExitStack, message_bytes: int) -> tuple[Probe, Probe]:
    """A generating and a receiving socket probe over one TCP connection, both blocking."""

    def start(role: str, core: int) -> Probe:
        live = lab.dut_ports if role == "dut" else lab.tester_ports
        ports, more = port_arguments(lab, live, "socket")
        return stack.enter_context(
            Probe(
                "socket", live[0].host, core=core, ports=ports, options={**more, "wait": "block"}, name=role
            )
        )

    receiver, sender = start("dut", lab.cores.dut), start("tester", lab.cores.tester)
    sender.command("frames", **messages_for(lab, FrameSpec(size=message_bytes)))
    return sender, receiver


def one_way_pps(options: Mapping[str, object]) -> Measure:
    """Datagrams a second that the sink received: what was sent and lost does not count for us."""

    def measure(lab: Lab) -> float:
        with ExitStack() as stack:
            sender, sink = _udp(lab, stack, options)
            received = 0
            for tag, duration_s in ((1, 0.2), (2, RUN_S)):
                sink.command("sink", tag=tag)
                sender.command(
                    "generate",
                    timeout_s=30,
                    load_pps=None,
                    duration_s=duration_s,
                    tag=tag,
                    **{"return": False},
                )
                time.sleep(0.05)
                received = int(sink.command("stop")["received"])
            return received / RUN_S

    return measure


def sockperf_one_way_pps(lab: Lab) -> float:
    """Datagrams a second that sockperf says it sent."""
    return sockperf.parse_message_rate_pps(_sockperf(lab, "throughput", PAYLOAD_BYTES))


def closed_loop_rtt_us(*, tcp: bool) -> Measure:
    """Median round trip of one message or datagram at a time, both ends blocking."""

    def measure(lab: Lab) -> float:
        with ExitStack() as stack:
            sender, echo = _tcp(lab, stack, PING_PONG_BYTES) if tcp else _udp(lab, stack, {"wait": "block"})
            echo.command("reflect")
            answer = sender.command(
                "generate", timeout_s=30, load_pps=None, duration_s=RUN_S, tag=1, loop="closed"
            )
            return _median_us(trial_from_answer(answer, overhead_s=0.0))

    return measure


def sockperf_rtt_us(*, tcp: bool) -> Measure:
    """The same by sockperf ping-pong."""
    size = PING_PONG_BYTES if tcp else PAYLOAD_BYTES
    return lambda lab: sockperf.parse_median_rtt_us(_sockperf(lab, "ping-pong", size, tcp=tcp))


def _sockperf(lab: Lab, mode: str, message_bytes: int, *, tcp: bool = False) -> str:
    client = sockperf.Sockperf(
        mode=mode,
        address=_address(lab),
        message_bytes=message_bytes,
        duration_s=1,
        core=lab.cores.tester,
        tcp=tcp,
    )
    with sockperf.server(lab.dut_ports[0].host, _address(lab), lab.cores.dut, tcp=tcp):
        return sockperf.run_client(client, lab.tester_ports[0].host)


def tcp_stream_gbps(lab: Lab) -> float:
    """One stream into a sink. Both ends of ours account for each message; iperf3's look at no byte."""
    with ExitStack() as stack:
        sender, sink = _tcp(lab, stack, STREAM_BYTES)
        sink.command("sink", tag=1)
        sent = sender.command(
            "generate", timeout_s=30, load_pps=None, duration_s=RUN_S, tag=1, **{"return": False}
        )
        received = int(sink.command("stop")["received"])
        # With the time in which the last of it was still under way: bits in a nanosecond.
        return received * STREAM_BYTES * 8 / (sent["end_ns"] - sent["start_ns"])


def iperf3_stream_gbps(lab: Lab) -> float:
    """What iperf3's receiver counted."""
    hosts = lab.tester_ports[0].host, lab.dut_ports[0].host
    cores = (lab.cores.tester, lab.cores.dut)
    return iperf3.stream_bits_per_s(*hosts, _address(lab), cores=cores, duration_s=round(RUN_S)) / 1e9


def offered_pps(engine: str) -> Measure:
    """The tester's maximum offered load: what an XDP program that drops has counted."""
    return lambda lab: (
        measure_max_offered_load(
            lab,
            engine=engine,
            receiver=far_engine(engine, xdp_ok=True),
            frames=FRAME,
            trials=3,
            duration_s=RUN_S,
            read=reader(lab),
        ).pps
    )
