"""The comparisons of the benchmark: what labkit does, what the other tool does, and what the ratio must reach."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from pairs import Comparison, Measured, Pairs, Say, Side, in_turn
from sides import (
    AS_COMMAND,
    RUN_S,
    Measure,
    closed_loop_rtt_us,
    idle_rtt_us,
    iperf3_stream_gbps,
    mrr_pps,
    offered_pps,
    one_way_pps,
    pair_of_testpmd_pps,
    probe_as_command,
    sockperf_one_way_pps,
    sockperf_rtt_us,
    tcp_stream_gbps,
    testbed,
)
from veth_tester import COMPARISONS as OF_VETH_TESTER

from labkit.lab import live as labs
from labkit.lab import topology_file
from labkit.measure.histogram import percentiles_us
from labkit.measure.trial import TrialResult
from tests.lab.ssh_host import TwoHosts


def _on_veth(ours: Measure, other: str, theirs: Measure, unit: str) -> Measured:
    return in_turn(
        Side(name="labkit", topology="veth", measure=ours),
        Side(name=other, topology="veth", measure=theirs),
        unit,
    )


def _as_command(figure: Callable[..., Measure], unit: str) -> Measured:
    """The backends `command` and `kernel` with one program, the probe's echo: what differs is what the backends do.

    An echo of another make (examples/) would show how well that is written. The tester is the same, too, that which
    users have by default, for its own share of a round trip is smaller than that of sockets.
    """
    return in_turn(
        Side(
            name="command",
            topology=probe_as_command,
            measure=figure("command", "af_xdp", AS_COMMAND, gated=True),
        ),
        Side(name="kernel", topology="veth", measure=figure("kernel", "af_xdp", gated=True)),
        unit,
    )


def _trials(pairs: int, load_pps: float, duration_s: float) -> Iterator[TrialResult]:
    with labs.lab_up(topology_file.load("veth")) as lab, ExitStack() as stack:
        running = testbed(stack, lab, "af_xdp", "", "af_xdp")
        running.measure(load_pps=load_pps, duration_s=duration_s)
        for _ in range(pairs):
            yield running.measure(load_pps=load_pps, duration_s=duration_s)


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


def _over_ssh(backend: str) -> Measured:
    """The same path over one virtual cable, with the DUT on a host that is reached by SSH, and in a lab of this one."""

    def measure(pairs: int, say: Say) -> Pairs:
        with tempfile.TemporaryDirectory() as folder:
            two = TwoHosts(Path(folder))
            trial = [*two.here.enter, sys.executable, "-m", "labkit.cli", "trial", "--json", "--load", "max"]
            trial += ["--tester", "af_xdp", "--backend", backend, "--duration", f"{RUN_S:g} s", "--topology"]

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


WITH_TREX = (
    Comparison(
        name="one-way-trex",
        title="frames one way over veth, on the same core",
        against="TRex in low-end mode (LABKIT_TREX_DIR)",
        unit="pps",
        floor=3.0,
        aim=4.0,
        measure=_on_veth(offered_pps("af_xdp"), "TRex", offered_pps("trex"), "pps"),
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
        measure=in_turn(
            Side(name="labkit", topology="vhost", measure=mrr_pps("dpdk", "dpdk")),
            Side(name="testpmd", topology="vhost", measure=pair_of_testpmd_pps("")),
            "pps",
        ),
    ),
    Comparison(
        name="dpdk-kernel",
        title="MRR of dpdk on vhost over MRR of kernel on veth",
        against="kernel backend",
        unit="pps",
        floor=20,
        aim=20,
        measure=in_turn(
            Side(name="dpdk", topology="vhost", measure=mrr_pps("dpdk", "dpdk")),
            Side(name="kernel", topology="veth", measure=mrr_pps("kernel", "af_xdp")),
            "pps",
        ),
    ),
    Comparison(
        name="af_xdp",
        title="frames that come back over veth through AF_XDP at both ends",
        against="dpdk-testpmd pair, net_af_xdp",
        unit="pps",
        floor=1.0,
        aim=1.5,
        measure=_on_veth(mrr_pps("af_xdp", "af_xdp"), "testpmd", pair_of_testpmd_pps("net_af_xdp"), "pps"),
    ),
    Comparison(
        name="af_packet",
        title="frames that come back over veth through AF_PACKET at both ends",
        against="dpdk-testpmd pair, net_af_packet",
        unit="pps",
        floor=1.0,
        aim=1.5,
        measure=_on_veth(
            mrr_pps("af_packet", "af_packet"), "testpmd", pair_of_testpmd_pps("net_af_packet"), "pps"
        ),
    ),
    Comparison(
        name="kernel-one-way",
        title="datagrams into a sink, 18-byte payload",
        against="sockperf throughput",
        unit="pps",
        floor=1.1,
        aim=1.5,
        measure=_on_veth(one_way_pps({}), "sockperf", sockperf_one_way_pps, "pps"),
    ),
    Comparison(
        name="kernel-one-way-gso",
        title="datagrams into a sink, 18-byte payload, UDP GSO",
        against="sockperf throughput",
        unit="pps",
        floor=1.1,
        aim=3.0,
        measure=_on_veth(one_way_pps({"gso": True}), "sockperf", sockperf_one_way_pps, "pps"),
    ),
    Comparison(
        name="kernel-rtt",
        title="unloaded round trip, closed loop, both ends blocking, p50",
        against="sockperf ping-pong --full-rtt",
        unit="us",
        floor=0.9,
        aim=1.0,
        measure=_on_veth(closed_loop_rtt_us(tcp=False), "sockperf", sockperf_rtt_us(tcp=False), "us"),
        less_is_better=True,
    ),
    Comparison(
        name="tcp-rtt",
        title="unloaded TCP round trip, closed loop, both ends blocking, p50",
        against="sockperf ping-pong --tcp --full-rtt",
        unit="us",
        floor=0.9,
        aim=1.0,
        measure=_on_veth(closed_loop_rtt_us(tcp=True), "sockperf", sockperf_rtt_us(tcp=True), "us"),
        less_is_better=True,
    ),
    Comparison(
        name="tcp-stream",
        title="one TCP stream into a sink, each message checked",
        against="iperf3, one stream",
        unit="Gbit/s",
        floor=0.9,
        aim=1.0,
        measure=_on_veth(tcp_stream_gbps, "iperf3", iperf3_stream_gbps, "Gbit/s"),
    ),
    Comparison(
        name="command-rtt",
        title="round trip at idle load, p50: the probe's echo run as a program of one's own",
        against="the backend kernel",
        unit="us",
        floor=0.7,
        ceiling=1.4,
        aim=1.0,
        measure=_as_command(idle_rtt_us, "us"),
        less_is_better=True,
    ),
    Comparison(
        name="command-mrr",
        title="MRR: the probe's echo run as a program of one's own",
        against="the backend kernel",
        unit="pps",
        floor=0.7,
        ceiling=1.4,
        aim=1.0,
        measure=_as_command(mrr_pps, "pps"),
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
    *OF_VETH_TESTER,
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
