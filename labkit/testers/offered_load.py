"""The maximum offered load on a link (RFC 2285 3.5.3): what the tester can send to the cheapest receiver there is.

RFC 9971 recommends to benchmark the tester first. The far end only counts: XDP_DROP in the driver, a packet socket
where BPF is refused, a counting DPDK port on shared memory. So it is an upper bound of what any trial on the link can
offer. A tester that also receives offers less; each trial shows it: frames are unsent although the link has room, or
all frames that were sent come back.
"""

from __future__ import annotations

from labkit.errors import ToolFailed
from labkit.lab.live import Lab
from labkit.probe.client import Probe
from labkit.testers.frames import FrameSpec
from labkit.testers.probe import generating, port_arguments


def measure_max_offered_load(
    lab: Lab, *, engine: str, frames: FrameSpec, trials: int, duration_s: float
) -> float:
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
        raise ToolFailed("the tester sent frames, but the receiver at the other end of the link counted none")
    return max(counted)
