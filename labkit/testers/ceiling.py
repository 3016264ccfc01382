"""The tester's own ceiling on a link: what it can do when the far end is the cheapest there is.

RFC 9971 recommends to benchmark the tester first. On interfaces the far end is a BPF program that sends every frame
back in the driver (XDP_TX, or XDP_REDIRECT to the second port), so that the ceiling is that of sending and
receiving. Where BPF is refused, and on shared memory, where nothing is cheaper than a DUT, the far end only counts:
there it bounds what can be offered, and a tester that offers less because it also receives shows as unsent frames
with room on the link.
"""

from __future__ import annotations

from labkit.errors import ToolFailed
from labkit.frames import FrameSpec
from labkit.lab import Lab
from labkit.probe.client import Probe
from labkit.testers.probe import ProbeTester, generating, port_arguments


def measure_ceiling(lab: Lab, *, engine: str, frames: FrameSpec, trials: int, duration_s: float) -> float:
    """The highest rate [pps] in `trials` trials without a pace: frames that came back, or that a sink counted."""
    far_engine = {"xdp": "bpf", "packet": "packet", "dpdk": "dpdk"}[engine]
    ports, options = port_arguments(lab, lab.dut_ports, far_engine)
    host, core = lab.dut_ports[0].host, lab.cores.dut
    measure = _returned if far_engine == "bpf" else _counted
    with (
        Probe(far_engine, host, core=core, ports=ports, options=options, name="far end") as far_end,
        generating(lab, engine) as tester,
    ):
        tester.set_frames(frames, own_mac=False)
        made = [measure(tester, far_end, duration_s, forwards=len(ports) > 1) for _ in range(trials + 1)]
    rates = made[1:]  # the first warms caches and rings up
    if not any(rates):
        raise ToolFailed("the tester sent frames, and the far end of the link saw none")
    return max(rates)


def _returned(tester: ProbeTester, far_end: Probe, duration_s: float, *, forwards: bool) -> float:
    far_end.command("reflect", swap="none" if forwards else "all")
    trial = tester.measure(load_pps=None, duration_s=duration_s)
    far_end.command("stop")
    return trial.forwarding_rate_pps


def _counted(tester: ProbeTester, far_end: Probe, duration_s: float, *, forwards: bool) -> float:
    far_end.command("sink", tag=tester.next_tag)
    tester.measure_one_way(load_pps=None, duration_s=duration_s)
    return int(far_end.command("stop")["received"]) / duration_s
