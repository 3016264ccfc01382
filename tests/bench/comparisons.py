"""The comparisons of the benchmark: what labkit does, what the other tool does, and what the ratio must reach."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tools import iperf3, sockperf, testpmd

from labkit.backends import registry
from labkit.errors import EnvironmentBroken
from labkit.lab import live as labs
from labkit.lab import topology_file
from labkit.lab.live import Lab
from labkit.machine import hugepages
from labkit.measure.histogram import percentiles_us
from labkit.measure.trial import TrialResult
from labkit.probe.client import Probe
from labkit.session.datapaths import Datapath, find_mode
from labkit.session.machines import reader
from labkit.session.testbed import Testbed, live_testbed
from labkit.testers.answer import trial_from_answer
from labkit.testers.base import SOFTWARE_DRAIN, messages_for
from labkit.testers.frames import FrameSpec, frames_command
from labkit.testers.offered_load import far_engine, measure_max_offered_load
from labkit.testers.probe import port_arguments
from tests.lab.ssh_host import TwoHosts

Say = Callable[[str], None]
Pairs = Iterator[tuple[float, float]]

FRAME = FrameSpec(size=64)
PAYLOAD_BYTES = 18  # of a 64-byte frame
RUN_S = 1.0
PING_PONG_BYTES, STREAM_BYTES = 64, 8192  # of a message over TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the table."""

    name: str
    title: str
    against: str
    unit: str
    floor: float
    aim: float
    measure: Callable[[int, Say], Pairs]
    less_is_better: bool = False

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times as good as the other."""
        return theirs / ours if self.less_is_better else ours / theirs


def _testbed(stack: ExitStack, lab: Lab, backend: str, mode: str, engine: str) -> Testbed:
    found = registry.load(backend)
    datapath = Datapath(topology=lab.topology, backend=found, mode=find_mode(found, lab.topology, mode))
    testbed = stack.enter_context(
        live_testbed(lab, datapath, engine=engine, ip_version=4, drain=SOFTWARE_DRAIN)
    )
    testbed.set_frames(FRAME)
    return testbed


def _mrr_pps(lab: Lab, backend: str, mode: str, engine: str) -> float:
    """Frames a second that came back, all checked and timed, while the tester sent as fast as it could."""
    with ExitStack() as stack:
        testbed = _testbed(stack, lab, backend, mode, engine)
        testbed.measure(load_pps=None, duration_s=0.3)
        return testbed.measure(load_pps=None, duration_s=RUN_S).forwarding_rate_pps


def _testpmd_pair_pps(lab: Lab, generator_vdev: str, reflector_vdev: str) -> float:
    common = {"control_core": lab.cores.controller[0]}
    if not lab.facts.get("hugepages") and hugepages.pool().free < 256:
        raise EnvironmentBroken(
            f"two testpmds need 256 free hugepages, {hugepages.pool().free} are there",
            hint="ansible/apply-local --tags hugepages",
        )
    generator = testpmd.Testpmd(
        core=lab.cores.tester, vdev=generator_vdev, forward_mode="flowgen", prefix="bench-generator", **common
    )
    reflector = testpmd.Testpmd(
        core=lab.cores.dut, vdev=reflector_vdev, forward_mode="macswap", prefix="bench-reflector", **common
    )
    hosts = (lab.tester_ports[0].host, lab.dut_ports[0].host)
    return testpmd.pair_rate_pps(hosts, generator, reflector, warm_up_s=0.5, duration_s=RUN_S)


def _dpdk_vhost(pairs: int, say: Say) -> Pairs:
    for _ in range(pairs):
        with labs.lab_up(topology_file.load("vhost")) as lab:
            ours = _mrr_pps(lab, "dpdk", "", "dpdk")
        with labs.lab_up(topology_file.load("vhost")) as lab:
            theirs = _testpmd_pair_pps(lab, str(lab.tester_ports[0].vdev), str(lab.dut_ports[0].vdev))
        say(f"labkit {ours / 1e6:.2f} Mpps, testpmd {theirs / 1e6:.2f} Mpps")
        yield ours, theirs


def _dpdk_against_kernel(pairs: int, say: Say) -> Pairs:
    for _ in range(pairs):
        with labs.lab_up(topology_file.load("vhost")) as lab:
            dpdk = _mrr_pps(lab, "dpdk", "", "dpdk")
        with labs.lab_up(topology_file.load("veth")) as lab:
            kernel = _mrr_pps(lab, "kernel", "", "af_xdp")
        say(f"dpdk {dpdk / 1e6:.2f} Mpps, kernel {kernel / 1e6:.3f} Mpps")
        yield dpdk, kernel


def _on_veth(backend: str, engine: str, driver: str) -> Callable[[int, Say], Pairs]:
    def measure(pairs: int, say: Say) -> Pairs:
        for _ in range(pairs):
            with labs.lab_up(topology_file.load("veth")) as lab:
                ours = _mrr_pps(lab, backend, "", engine)
            with labs.lab_up(topology_file.load("veth")) as lab:
                vdevs = [
                    f"{driver}{i},iface={port.interface}"
                    for i, port in enumerate((lab.tester_ports[0], lab.dut_ports[0]))
                ]
                theirs = _testpmd_pair_pps(lab, vdevs[0], vdevs[1])
            say(f"labkit {ours / 1e6:.3f} Mpps, testpmd {theirs / 1e6:.3f} Mpps")
            yield ours, theirs

    return measure


def _sockets(lab: Lab, stack: ExitStack, role: str, options: Mapping[str, object]) -> tuple[Probe, Probe]:
    """A generating and a receiving socket probe on the lab's ports, with the frames set."""
    tester, dut = lab.tester_ports[0], lab.dut_ports[0]
    assert dut.port.ipv4 is not None
    assert tester.port.ipv4 is not None
    receiver = stack.enter_context(
        Probe(
            "socket",
            dut.host,
            core=lab.cores.dut,
            ports=[{"bind": str(dut.port.ipv4.ip), "port": 7}],
            options={k: v for k, v in options.items() if k != "gso"},
            name=role,
        )
    )
    sender = stack.enter_context(
        Probe(
            "socket",
            tester.host,
            core=lab.cores.tester,
            ports=[{"bind": str(tester.port.ipv4.ip), "port": 0}],
            options=options,
            name="tester",
        )
    )
    sender.command(
        "frames",
        **frames_command(
            FRAME,
            src_mac=tester.port.mac,
            dst_mac=dut.port.mac,
            src_ip=str(tester.port.ipv4.ip),
            dst_ip=str(dut.port.ipv4.ip),
            src_port=10000,
            dst_port=7,
        ),
    )
    return sender, receiver


def _one_way_pps(lab: Lab, options: Mapping[str, object]) -> float:
    """Datagrams a second that the sink received: what was sent and lost does not count for us."""
    with ExitStack() as stack:
        sender, sink = _sockets(lab, stack, "sink", options)
        received = 0
        for tag, duration_s in ((1, 0.2), (2, RUN_S)):
            sink.command("sink", tag=tag)
            sender.command(
                "generate", timeout_s=30, load_pps=None, duration_s=duration_s, tag=tag, **{"return": False}
            )
            time.sleep(0.05)
            received = int(sink.command("stop")["received"])
        return received / RUN_S


def _one_way(options: Mapping[str, object]) -> Callable[[int, Say], Pairs]:
    def measure(pairs: int, say: Say) -> Pairs:
        for _ in range(pairs):
            with labs.lab_up(topology_file.load("veth")) as lab:
                ours = _one_way_pps(lab, options)
                address = str(lab.dut_ports[0].port.ipv4.ip)  # type: ignore[union-attr]
                client = sockperf.Sockperf(
                    mode="throughput",
                    address=address,
                    message_bytes=PAYLOAD_BYTES,
                    duration_s=1,
                    core=lab.cores.tester,
                )
                with sockperf.server(lab.dut_ports[0].host, address, lab.cores.dut):
                    theirs = sockperf.parse_message_rate_pps(
                        sockperf.run_client(client, lab.tester_ports[0].host)
                    )
            say(f"labkit {ours / 1e3:.0f} kpps received, sockperf {theirs / 1e3:.0f} kpps sent")
            yield ours, theirs

    return measure


def _round_trip(pairs: int, say: Say) -> Pairs:
    for _ in range(pairs):
        with labs.lab_up(topology_file.load("veth")) as lab:
            with ExitStack() as stack:
                sender, echo = _sockets(lab, stack, "dut", {"wait": "block"})
                echo.command("reflect")
                answer = sender.command(
                    "generate", timeout_s=30, load_pps=None, duration_s=RUN_S, tag=1, loop="closed"
                )
                trial = trial_from_answer(answer, overhead_s=0.0)
                assert trial.rtt is not None
                ours = percentiles_us(trial.rtt, (50,))[50] or float("nan")
            address = str(lab.dut_ports[0].port.ipv4.ip)  # type: ignore[union-attr]
            client = sockperf.Sockperf(
                mode="ping-pong",
                address=address,
                message_bytes=PAYLOAD_BYTES,
                duration_s=1,
                core=lab.cores.tester,
            )
            with sockperf.server(lab.dut_ports[0].host, address, lab.cores.dut):
                theirs = sockperf.parse_median_rtt_us(sockperf.run_client(client, lab.tester_ports[0].host))
        say(f"labkit {ours:.2f} us, sockperf {theirs:.2f} us")
        yield ours, theirs


def _connected(
    lab: Lab, stack: ExitStack, options: Mapping[str, object], message_bytes: int
) -> tuple[Probe, Probe]:
    """A generating and a receiving socket probe over one TCP connection."""

    def start(role: str, core: int) -> Probe:
        live = lab.dut_ports if role == "dut" else lab.tester_ports
        ports, more = port_arguments(lab, live, "socket")
        return stack.enter_context(
            Probe("socket", live[0].host, core=core, ports=ports, options={**more, **options}, name=role)
        )

    receiver, sender = start("dut", lab.cores.dut), start("tester", lab.cores.tester)
    sender.command("frames", **messages_for(lab, FrameSpec(size=message_bytes)))
    return sender, receiver


def _tcp_round_trip(pairs: int, say: Say) -> Pairs:
    for _ in range(pairs):
        with labs.lab_up(topology_file.load("veth")) as lab:
            with ExitStack() as stack:
                sender, echo = _connected(lab, stack, {"wait": "block"}, PING_PONG_BYTES)
                echo.command("reflect")
                answer = sender.command(
                    "generate", timeout_s=30, load_pps=None, duration_s=RUN_S, tag=1, loop="closed"
                )
                trial = trial_from_answer(answer, overhead_s=0.0)
                assert trial.rtt is not None
                ours = percentiles_us(trial.rtt, (50,))[50] or float("nan")
            address = str(lab.dut_ports[0].port.ipv4.ip)  # type: ignore[union-attr]
            client = sockperf.Sockperf(
                mode="ping-pong",
                address=address,
                message_bytes=PING_PONG_BYTES,
                duration_s=1,
                core=lab.cores.tester,
                tcp=True,
            )
            with sockperf.server(lab.dut_ports[0].host, address, lab.cores.dut, tcp=True):
                theirs = sockperf.parse_median_rtt_us(sockperf.run_client(client, lab.tester_ports[0].host))
        say(f"labkit {ours:.2f} us, sockperf {theirs:.2f} us")
        yield ours, theirs


def _tcp_stream(pairs: int, say: Say) -> Pairs:
    """Both ends of ours account for each message; iperf3's look at no byte."""
    for _ in range(pairs):
        with labs.lab_up(topology_file.load("veth")) as lab:
            with ExitStack() as stack:
                sender, sink = _connected(lab, stack, {"wait": "block"}, STREAM_BYTES)
                sink.command("sink", tag=1)
                sent = sender.command(
                    "generate", timeout_s=30, load_pps=None, duration_s=RUN_S, tag=1, **{"return": False}
                )
                received = int(sink.command("stop")["received"])
                # With the time in which the last of it was still under way.
                ours = received * STREAM_BYTES * 8 / ((sent["end_ns"] - sent["start_ns"]) / 1e9)
            theirs = iperf3.stream_bits_per_s(
                lab.tester_ports[0].host,
                lab.dut_ports[0].host,
                str(lab.dut_ports[0].port.ipv4.ip),  # type: ignore[union-attr]
                cores=(lab.cores.tester, lab.cores.dut),
                duration_s=round(RUN_S),
            )
        say(f"labkit {ours / 1e9:.2f} Gbit/s, iperf3 {theirs / 1e9:.2f} Gbit/s")
        yield ours / 1e9, theirs / 1e9


def _trials(pairs: int, load_pps: float, duration_s: float) -> Iterator[TrialResult]:
    with labs.lab_up(topology_file.load("veth")) as lab, ExitStack() as stack:
        testbed = _testbed(stack, lab, "af_xdp", "", "af_xdp")
        testbed.measure(load_pps=load_pps, duration_s=duration_s)
        for _ in range(pairs):
            yield testbed.measure(load_pps=load_pps, duration_s=duration_s)


def _overhead(pairs: int, say: Say) -> Pairs:
    for trial in _trials(pairs, 10_000, 0.2):
        say(f"a trial of 0.2 s took {trial.overhead_s * 1e3:.1f} ms more")
        yield trial.overhead_s * 1e3, 50.0


def _pacing(pairs: int, say: Say) -> Pairs:
    for trial in _trials(pairs, 100_000, 1.0):
        rate_pps = (trial.sent - 1) / trial.tx_duration_s
        error = abs(rate_pps / 100_000 - 1)
        lag = percentiles_us(trial.lag, (50, 99)) if trial.lag is not None else {}
        say(
            f"offered {rate_pps:.1f} pps, {error:.4%} off; late by p50 {lag.get(50)} us, p99 {lag.get(99)} us"
        )
        yield max(error, 1e-9) * 100, 0.1


def _up_and_down(pairs: int, say: Say) -> Pairs:
    lab_file = topology_file.load("veth")
    for _ in range(pairs):
        began = time.monotonic()
        with labs.lab_up(lab_file):
            pass
        spent_s = time.monotonic() - began
        say(f"{spent_s * 1e3:.0f} ms")
        yield spent_s, 1.0


def _over_ssh(backend: str) -> Callable[[int, Say], Pairs]:
    """The same path over one virtual cable, with the DUT on a host that is reached by SSH, and in a lab of this one."""

    def measure(pairs: int, say: Say) -> Pairs:
        with tempfile.TemporaryDirectory() as folder:
            two = TwoHosts(Path(folder))
            trial = [*two.here.enter, sys.executable, "-m", "labkit.cli", "trial", "--json", "--load", "max"]
            trial += ["--backend", backend, "--duration", f"{RUN_S:g} s", "--topology"]

            def rate_pps(topology: str) -> float:
                done = subprocess.run([*trial, topology], check=True, capture_output=True, text=True)
                return float(json.loads(done.stdout)["forwarding_rate_pps"])

            try:
                for _ in range(pairs):
                    there, here = rate_pps(str(two.topology)), rate_pps("veth")
                    say(f"by SSH {there / 1e3:.0f} kpps, here {here / 1e3:.0f} kpps")
                    yield there, here
            finally:
                two.end()

    return measure


def _memory(pairs: int, say: Say) -> Pairs:
    """The peak (VmHWM) of the controller of a quick run, results and report included; once, since it takes a minute."""
    with tempfile.TemporaryDirectory() as results:
        run = subprocess.Popen(
            [sys.executable, "-m", "labkit.cli", "run", "--quick", "--allow-invalid", "--results", results],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peak_kib = 0
        while run.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                status = Path(f"/proc/{run.pid}/status").read_text()
                peak_kib = max(peak_kib, int(status.split("VmHWM:")[1].split()[0]))
            time.sleep(0.2)
    say(f"{peak_kib / 1024:.0f} MiB")
    yield peak_kib / 1024, 150e6 / (1 << 20)


def _offered_pps(engine: str) -> float:
    """The tester's maximum offered load on a veth pair: what an XDP program that drops has counted."""
    with labs.lab_up(topology_file.load("veth")) as lab:
        found = measure_max_offered_load(
            lab,
            engine=engine,
            receiver=far_engine(engine, xdp_ok=True),
            frames=FRAME,
            trials=3,
            duration_s=RUN_S,
            read=reader(lab),
        )
    return found.pps


def _against_trex(pairs: int, say: Say) -> Pairs:
    for _ in range(pairs):
        ours, theirs = _offered_pps("af_xdp"), _offered_pps("trex")
        say(f"labkit {ours / 1e6:.3f} Mpps, TRex {theirs / 1e6:.3f} Mpps")
        yield ours, theirs


WITH_TREX = (
    Comparison(
        name="one-way-trex",
        title="frames one way over veth, on the same core",
        against="TRex in low-end mode (LABKIT_TREX_DIR)",
        unit="pps",
        floor=3.0,
        aim=4.0,
        measure=_against_trex,
    ),
)
COMPARISONS = (
    *(WITH_TREX if os.environ.get("LABKIT_TREX_DIR") else ()),
    Comparison(
        name="dpdk-vhost",
        title="frames that come back over vhost, checked and timed",
        against="dpdk-testpmd flowgen to macswap",
        unit="pps",
        floor=0.8,
        aim=1.0,
        measure=_dpdk_vhost,
    ),
    Comparison(
        name="dpdk-kernel",
        title="MRR of dpdk on vhost over MRR of kernel on veth",
        against="kernel backend",
        unit="pps",
        floor=20,
        aim=20,
        measure=_dpdk_against_kernel,
    ),
    Comparison(
        name="af_xdp",
        title="frames that come back over veth through AF_XDP at both ends",
        against="dpdk-testpmd pair, net_af_xdp",
        unit="pps",
        floor=1.0,
        aim=1.5,
        measure=_on_veth("af_xdp", "af_xdp", "net_af_xdp"),
    ),
    Comparison(
        name="af_packet",
        title="frames that come back over veth through AF_PACKET at both ends",
        against="dpdk-testpmd pair, net_af_packet",
        unit="pps",
        floor=1.0,
        aim=1.5,
        measure=_on_veth("af_packet", "af_packet", "net_af_packet"),
    ),
    Comparison(
        name="kernel-one-way",
        title="datagrams into a sink, 18-byte payload",
        against="sockperf throughput",
        unit="pps",
        floor=1.1,
        aim=1.5,
        measure=_one_way({}),
    ),
    Comparison(
        name="kernel-one-way-gso",
        title="datagrams into a sink, 18-byte payload, UDP GSO",
        against="sockperf throughput",
        unit="pps",
        floor=1.1,
        aim=3.0,
        measure=_one_way({"gso": True}),
    ),
    Comparison(
        name="kernel-rtt",
        title="unloaded round trip, closed loop, both ends blocking, p50",
        against="sockperf ping-pong --full-rtt",
        unit="us",
        floor=0.9,
        aim=1.0,
        measure=_round_trip,
        less_is_better=True,
    ),
    Comparison(
        name="tcp-rtt",
        title="unloaded TCP round trip, closed loop, both ends blocking, p50",
        against="sockperf ping-pong --tcp --full-rtt",
        unit="us",
        floor=0.9,
        aim=1.0,
        measure=_tcp_round_trip,
        less_is_better=True,
    ),
    Comparison(
        name="tcp-stream",
        title="one TCP stream into a sink, each message checked",
        against="iperf3, one stream",
        unit="Gbit/s",
        floor=0.9,
        aim=1.0,
        measure=_tcp_stream,
    ),
    Comparison(
        name="trial-overhead",
        title="what a trial takes beyond its duration",
        against="50 ms",
        unit="ms",
        floor=1.0,
        aim=2.0,
        measure=_overhead,
        less_is_better=True,
    ),
    Comparison(
        name="pacing",
        title="offered against intended rate at 100 kpps",
        against="0.1 %",
        unit="%",
        floor=1.0,
        aim=10.0,
        measure=_pacing,
        less_is_better=True,
    ),
    Comparison(
        name="up-down",
        title="lab veth up and down",
        against="1 s",
        unit="s",
        floor=1.0,
        aim=2.0,
        measure=_up_and_down,
        less_is_better=True,
    ),
    *(
        Comparison(
            name=f"ssh-{backend}",
            title=f"MRR of {backend}, its DUT on a host that is reached by SSH",
            against="the same in a lab of one machine",
            unit="pps",
            floor=0.7,
            aim=0.95,
            measure=_over_ssh(backend),
        )
        for backend in ("kernel", "af_packet")
    ),
    Comparison(
        name="memory",
        title="the controller's memory in a quick run",
        against="150 MB",
        unit="MiB",
        floor=1.0,
        aim=1.5,
        measure=_memory,
        less_is_better=True,
    ),
)
