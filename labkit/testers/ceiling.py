"""The tester's own ceiling on a link: what it can offer when the far end is the cheapest there is.

RFC 9971 recommends to benchmark the tester first. The far end only counts: XDP_DROP in the driver, a packet socket
where BPF is refused, a counting DPDK port on shared memory. So the ceiling is an upper bound of what any trial on the
link can offer. That a tester which also receives offers less shows in each trial: as unsent frames with room on the
link, or as all that was sent coming back.
"""

from __future__ import annotations

from labkit.errors import ToolFailed
from labkit.lab.live import Lab
from labkit.probe.client import Probe
from labkit.testers.frames import FrameSpec
from labkit.testers.probe import generating, port_arguments


def measure_ceiling(lab: Lab, *, engine: str, frames: FrameSpec, trials: int, duration_s: float) -> float:
    """The highest rate [pps] that the far end counted in `trials` trials without a pace."""
    far_engine = {"af_xdp": "xdp", "af_packet": "af_packet", "dpdk": "dpdk"}[engine]
    ports, options = port_arguments(lab, lab.dut_ports, far_engine)
    host, core = lab.dut_ports[0].host, lab.cores.dut
    with (
        Probe(far_engine, host, core=core, ports=ports, options=options, name="far end") as far_end,
        generating(lab, engine) as tester,
    ):
        tester.set_frames(frames, own_mac=False)
        rates_pps = []
        for _ in range(trials + 1):
            far_end.command("sink", tag=tester.next_tag)
            tester.measure_one_way(load_pps=None, duration_s=duration_s)
            rates_pps.append(int(far_end.command("stop")["received"]) / duration_s)
    counted = rates_pps[1:]  # the first warms caches and rings up
    if not any(counted):
        raise ToolFailed("the tester sent frames, and the far end of the link saw none")
    return max(counted)
