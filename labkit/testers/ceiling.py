"""The tester's own ceiling on a link: what it can send when the far end only counts.

RFC 9971 recommends to benchmark the tester first. The far end is the cheapest there is: XDP_DROP in the driver, a
packet socket where BPF is refused, a counting DPDK port on shared memory. Nothing comes back, so this bounds what can
be offered; that a tester which also receives offers less shows as unsent frames in each trial.
"""

from __future__ import annotations

from labkit.errors import ToolFailed
from labkit.frames import FrameSpec
from labkit.lab import Lab
from labkit.measure.ceiling import ceiling_pps
from labkit.probe.client import Probe
from labkit.testers.probe import generating, port_arguments


def measure_ceiling(lab: Lab, *, engine: str, frames: FrameSpec, trials: int, duration_s: float) -> float:
    """The highest rate [pps] in `trials` trials without a pace; frames that the far end did not count are not in it."""
    sink_engine = {"xdp": "bpf", "packet": "packet", "dpdk": "dpdk"}[engine]
    ports, options = port_arguments(lab, lab.dut_ports, sink_engine)
    with (
        Probe(
            sink_engine, lab.dut_ports[0].host, core=lab.cores.dut, ports=ports, options=options, name="sink"
        ) as sink,
        generating(lab, engine) as tester,
    ):
        tester.set_frames(frames, own_mac=False)
        made = []
        for index in range(trials + 1):
            sink.command("sink", tag=tester.next_tag)
            trial = tester.measure_one_way(load_pps=None, duration_s=duration_s)
            counted = sink.command("stop")
            if index:  # the first warms caches and rings up
                made.append(trial)
        if not int(counted["rx_frames"]):
            raise ToolFailed(f"the tester sent {trial.sent} frames, the far end of the link saw none")
    return ceiling_pps(made)
