"""The tester that makes frames in the kernel, beside the ones that send by sockets: over veth, on the same core."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from pairs import Comparison, Measured, Pairs, Say, Side, in_turn
from sides import FRAME, RUN_S, Measure, mrr_pps, offered_pps, testbed
from tools import trafgen

from labkit.errors import ToolFailed
from labkit.lab import live as labs
from labkit.lab import topology_file
from labkit.lab.links.live_frames import spare
from labkit.lab.live import Lab
from labkit.machine.namespaces import inside
from labkit.machine.netlink import rtnetlink
from labkit.measure.histogram import percentiles_us
from labkit.measure.trial import TrialResult
from labkit.probe.client import Probe
from labkit.testers.answer import trial_from_answer
from labkit.testers.base import frames_for
from labkit.testers.preview import as_sent

WARM_UP_S = 0.2
LOW_PPS = 10_000.0


def _trafgen_pps(lab: Lab) -> float:
    """Frames a second that an XDP program counted and dropped, sent by trafgen on the tester's core."""
    near, far = lab.tester_ports[0], lab.dut_ports[0]
    (frame,) = as_sent(frames_for(lab, FRAME, own_mac=False), 1)
    with (
        tempfile.TemporaryDirectory() as folder,
        Probe("xdp", far.host, core=None, ports=[{"interface": far.interface}], name="far end") as sink,
        trafgen.sending(near.host, str(near.interface), frame, lab.cores.tester, Path(folder)),
    ):
        sink.command("sink", tag=1)
        began = time.monotonic()
        time.sleep(RUN_S)
        counted = int(sink.command("stop")["rx_frames"])
        return counted / (time.monotonic() - began)


def _shortest_us(engine: str) -> Measure:
    """The shortest round trip at a low load through XDP_TX."""

    def measure(lab: Lab) -> float:
        with ExitStack() as stack:
            running = testbed(stack, lab, "xdp", "", engine)
            running.measure(load_pps=LOW_PPS, duration_s=WARM_UP_S)
            found = running.measure(load_pps=LOW_PPS, duration_s=RUN_S).rtt
            if found is None or not found.n:
                raise ToolFailed("nothing came back")
            return found.min_ns / 1e3

    return measure


def _sides(
    ours: Measure, name: str, theirs: Measure, *, topology: str = "veth", unit: str = "pps"
) -> Measured:
    return in_turn(
        Side(name="in the kernel", topology=topology, measure=ours),
        Side(name=name, topology=topology, measure=theirs),
        unit,
    )


def _offered_over_received(pairs: int, say: Say) -> Pairs:
    """How much more is offered to an AF_XDP DUT than comes back: whether the row is the DUT's limit."""
    with labs.lab_up(topology_file.load("veth")) as lab, ExitStack() as stack:
        running = testbed(stack, lab, "af_xdp", "", "xdp")
        running.measure(load_pps=None, duration_s=WARM_UP_S)
        for _ in range(pairs):
            found = running.measure(load_pps=None, duration_s=RUN_S)
            say(f"sent {found.sent}, {found.received} came back")
            yield found.sent / max(found.received, 1), 1.0


def _pacing(load_pps: float) -> Measured:
    """The rate that was offered against the intended one, into XDP_DROP, in percent."""

    def measure(pairs: int, say: Say) -> Pairs:
        with labs.lab_up(topology_file.load("veth")) as lab, ExitStack() as stack:
            tester = _in_one_place(stack, lab)
            for _ in range(pairs):
                found = _generate(tester, load_pps)
                rate_pps = (found.sent - 1) / found.tx_duration_s
                error = abs(rate_pps / load_pps - 1)
                say(f"offered {rate_pps:.1f} pps, {error:.6%} off, {found.unsent} unsent")
                yield max(error, 1e-9) * 100, 0.1

    return measure


def _departure_us(percentile: float, limit_us: float) -> Measured:
    """Arrival at the other end, less the intended departure, at 1 Mpps."""

    def measure(pairs: int, say: Say) -> Pairs:
        with labs.lab_up(topology_file.load("veth")) as lab, ExitStack() as stack:
            tester = _in_one_place(stack, lab)
            for _ in range(pairs):
                found = _generate(tester, 1e6).rtt
                if found is None:
                    raise ToolFailed("nothing arrived")
                us = percentiles_us(found, (50, 90, 99))
                say(f"p50 {us[50]:.3g} us, p90 {us[90]:.3g} us, p99 {us[99]:.3g} us")
                yield us[percentile] or float("nan"), limit_us

    return measure


def _in_one_place(stack: ExitStack, lab: Lab) -> Probe:
    """A tester that sends at one end of the lab's link and receives at the other: there is no DUT."""
    near, far = lab.tester_ports[0], lab.dut_ports[0]
    name = str(far.interface)
    with inside(far.host.pid), rtnetlink() as netlink:  # type: ignore[attr-defined]
        netlink.link("set", index=netlink.link_lookup(ifname=name)[0], net_ns_pid=near.host.pid)  # type: ignore[attr-defined]
    with inside(near.host.pid), rtnetlink() as netlink:  # type: ignore[attr-defined]
        netlink.link("set", index=netlink.link_lookup(ifname=name)[0], state="up")
    options = {"spare": stack.enter_context(spare(near.host))}  # type: ignore[arg-type]
    ports = [{"interface": near.interface}, {"interface": name}]
    tester = stack.enter_context(
        Probe("xdp", near.host, core=lab.cores.tester, ports=ports, options=options, name="tester")
    )
    tester.command("frames", **frames_for(lab, FRAME, own_mac=False))
    return tester


def _generate(tester: Probe, load_pps: float) -> TrialResult:
    answer = tester.command("generate", timeout_s=30, load_pps=load_pps, duration_s=RUN_S, tag=1)
    return trial_from_answer(answer, overhead_s=0.0)


def _ratio(name: str, title: str, against: str, floor: float, aim: float, measure: Measured) -> Comparison:
    return Comparison(
        name=f"veth-{name}", title=title, against=against, unit="pps", floor=floor, aim=aim, measure=measure
    )


AF_XDP = "the tester af_xdp"
COMPARISONS = (
    _ratio(
        "one-way", "frames into XDP_DROP, made in the kernel", AF_XDP, 3.0, 4.5,
        _sides(offered_pps("xdp"), "af_xdp", offered_pps("af_xdp")),
    ),
    _ratio(
        "trafgen", "frames into XDP_DROP, made in the kernel", "trafgen", 8.0, 12.0,
        _sides(offered_pps("xdp"), "trafgen", _trafgen_pps),
    ),
    _ratio(
        "round-trip", "MRR of xdp, frames made in the kernel", AF_XDP, 3.0, 4.5,
        _sides(mrr_pps("xdp", "xdp"), "af_xdp", mrr_pps("xdp", "af_xdp")),
    ),
    _ratio(
        "forward-xdp", "MRR of xdp between two links, frames made in the kernel", AF_XDP, 3.0, 4.5,
        _sides(mrr_pps("xdp", "xdp"), "af_xdp", mrr_pps("xdp", "af_xdp"), topology="veth-forward"),
    ),
    _ratio(
        "forward-kernel", "MRR of kernel between two links, GRO on, frames made in the kernel", AF_XDP, 1.8, 2.5,
        _sides(
            mrr_pps("kernel", "xdp", "gro"), "af_xdp", mrr_pps("kernel", "af_xdp"), topology="veth-forward"
        ),
    ),
    _ratio(
        "af_xdp", "MRR of af_xdp, frames made in the kernel", AF_XDP, 1.2, 1.5,
        _sides(mrr_pps("af_xdp", "xdp"), "af_xdp", mrr_pps("af_xdp", "af_xdp")),
    ),
    Comparison(
        name="veth-af_xdp-offered",
        title="frames offered to af_xdp for each that came back",
        against="1 (the tester's limit)",
        unit="",
        floor=2.5,
        aim=2.5,
        measure=_offered_over_received,
    ),
    Comparison(
        name="veth-rtt",
        title="shortest round trip through XDP_TX at 10 kpps",
        against=AF_XDP,
        unit="us",
        floor=1 / 0.6,
        aim=1 / 0.35,
        measure=_sides(_shortest_us("xdp"), "af_xdp", _shortest_us("af_xdp"), unit="us"),
        less_is_better=True,
    ),
    *(
        Comparison(
            name=f"veth-pacing-{words}",
            title=f"offered against intended rate at {load_pps / 1e6:g} Mpps, frames made in the kernel",
            against="0.1 %",
            unit="%",
            floor=1.0,
            aim=10.0,
            measure=_pacing(load_pps),
            less_is_better=True,
        )
        for words, load_pps in (("100k", 1e5), ("1M", 1e6), ("2M", 2e6))
    ),
    *(
        Comparison(
            name=f"veth-departure-p{percentile}",
            title=f"arrival less intended departure at 1 Mpps, p{percentile}",
            against=f"{limit_us:g} us",
            unit="us",
            floor=1.0,
            aim=limit_us / aim_us,
            measure=_departure_us(percentile, limit_us),
            less_is_better=True,
        )
        for percentile, limit_us, aim_us in ((50, 1.0, 0.4), (90, 3.0, 0.8))
    ),
)  # fmt: skip
