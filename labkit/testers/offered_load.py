"""The maximum offered load on a link (RFC 2285 3.5.3): what the tester can send to the cheapest receiver there is.

RFC 9971 recommends to benchmark the tester first. The far end only counts: XDP_DROP in the driver, a packet socket
where BPF is refused, a counting DPDK port on shared memory. So it is an upper bound of what any trial on the link can
offer. A tester that also receives offers less; each trial shows it: frames are unsent although the link has room, or
all frames that were sent come back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from labkit.errors import ToolFailed
from labkit.lab.live import Lab
from labkit.lab.topology import Role
from labkit.measure.gate import Gate
from labkit.measure.latency import IDLE_LOAD_PPS
from labkit.measure.limits import MaxOfferedLoad
from labkit.measure.noise import NoiseReading, contention_gate, of_machines, steal_gate
from labkit.measure.trial import Histogram
from labkit.probe.client import Probe
from labkit.testers.base import Tester
from labkit.testers.frames import FrameSpec
from labkit.testers.probe import TCP_ENGINE, port_arguments
from labkit.testers.start import generating, needs_passing, passing

FLOOR_S = 1.0
LONGEST_S = 4.0
ATTEMPTS = 3
"""At once, where the machine was busy: most disturbances are short."""


XDP_FAR_END = ("bpf", "xdp_native", "probe_xdp")
"""Ids of the doctor's checks that the cheapest receiver on interfaces needs, at the DUT."""


def far_engine(engine: str, *, xdp_ok: bool, in_memory: bool = False) -> str:
    """The cheapest receiver opposite this tester; `xdp_ok`: the DUT's machine and its ports allow XDP.

    Opposite DPDK on a NIC it is that as well: the DUT's own NIC stays with its kernel.
    """
    if in_memory:
        return "dpdk"
    if engine in ("af_packet", TCP_ENGINE):
        return engine
    return "xdp" if xdp_ok else "af_packet"


def measure_max_offered_load(
    lab: Lab,
    *,
    engine: str,
    receiver: str,
    frames: FrameSpec,
    trials: int,
    duration_s: float,
    trex_dir: str | None = None,
    floor: bool = False,
    read: Callable[[Mapping[Role, tuple[int, int]]], Mapping[str, NoiseReading]],
) -> MaxOfferedLoad:
    """The highest rate that the far end counted in `trials` trials without a pace.

    `receiver` is the far end's engine (`far_engine`). `read` reads the machines; its argument maps a role to (thread
    id, intended core). `floor`: measure the tester's own round trips as well. Where other programs or guests had a core
    meanwhile, each is measured again at once, ATTEMPTS times in all. The highest rate of all attempts counts, and the
    last round trips; they are disturbed if the last attempt was.
    """
    ports, options = port_arguments(lab, lab.dut_ports, receiver, ip_version=frames.ip_version)
    host, core = lab.dut_ports[0].host, lab.cores.dut
    with ExitStack() as stack:

        def far() -> Probe:
            return stack.enter_context(
                Probe(receiver, host, core=core, ports=ports, options=options, name="far end")
            )

        if receiver == "xdp" and needs_passing(lab, engine):
            stack.enter_context(passing(lab))
        if lab.tester_ports[0].pci is None:
            far_end, tester = (
                far(),
                stack.enter_context(generating(lab, engine, trex_dir=trex_dir, ip_version=frames.ip_version)),
            )
        else:  # the link is down until DPDK's driver has started the tester's port
            tester = stack.enter_context(
                generating(lab, engine, trex_dir=trex_dir, ip_version=frames.ip_version)
            )
            lab.machines["dut"].ask("await_carrier", role="dut")
            far_end = far()

        sent: list[int] = []

        def rate_pps(span_s: float) -> float:
            far_end.command("sink", tag=tester.next_tag)
            trial = tester.measure_one_way(load_pps=None, duration_s=span_s)
            sent.append(trial.sent)
            return tester.counted(far_end.command("stop")) / trial.duration_s

        workers: dict[Role, tuple[int, int]] = {
            "tester": (tester.worker_tid, lab.cores.tester),
            "dut": (int(far_end.opened["worker_tid"]), core),
        }
        tester.set_frames(frames, own_mac=False)
        span_s = long_enough(rate_pps, duration_s)  # it also warms caches and rings up
        highest_pps = 0.0
        for _ in range(ATTEMPTS):
            before = read(workers)
            highest_pps = max(highest_pps, *(rate_pps(span_s) for _ in range(trials)))
            disturbed = _disturbed(before, read(workers))
            if not disturbed:
                break
        own: Histogram | None = None
        own_disturbed: tuple[Gate, ...] = ()
        for _ in range(ATTEMPTS if floor or tester.has_floor else 0):
            before = read(workers)
            own = _floor(far_end, tester)
            own_disturbed = _disturbed(before, read(workers))
            if not own_disturbed:
                break
    if not highest_pps:
        raise ToolFailed(
            f"the receiver at the other end of the link counted none of the {sum(sent)} frames that the tester sent"
        )
    return MaxOfferedLoad(pps=highest_pps, disturbed=disturbed, floor=own, floor_disturbed=own_disturbed)


def long_enough(rate_pps: Callable[[float], float], duration_s: float) -> float:
    """The first duration from this one up in which frames arrive [s], LONGEST_S where none do.

    Between two emulated machines frames may be under way for longer than a short trial.
    """
    while rate_pps(duration_s) == 0 and duration_s < LONGEST_S:
        duration_s = min(duration_s * 4, LONGEST_S)
    return duration_s


def _disturbed(before: Mapping[str, NoiseReading], after: Mapping[str, NoiseReading]) -> tuple[Gate, ...]:
    """The gates by which other programs or guests had a core between two readings of the machines."""
    found = (
        of_machines({machine: gate(before[machine], after[machine]) for machine in after})
        for gate in (steal_gate, contention_gate)
    )
    return tuple(gate for gate in found if gate.state == "invalid")


def _floor(far_end: Probe, tester: Tester) -> Histogram | None:
    """The tester's own round trips at a low load: the far end sends each frame back at once."""
    far_end.command("reflect", swap="all")
    trial = tester.measure(load_pps=IDLE_LOAD_PPS, duration_s=FLOOR_S)
    far_end.command("stop")
    return trial.rtt
