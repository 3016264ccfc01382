"""The built-in tester: the probe generating on the tester's ports.

It does not know which backend it loads, only where frames are sent and which MAC address they carry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from labkit.errors import ConfigInvalid, LabkitBug
from labkit.lab.live import Lab, LivePort
from labkit.lab.topology import TESTERS
from labkit.machine.hosts import NamespaceHost
from labkit.measure.trial import TrialResult
from labkit.probe.client import Probe
from labkit.testers.answer import trial_from_answer
from labkit.testers.base import (
    ECHO_PORT,
    SOFTWARE_DRAIN,
    DrainTime,
    Sink,
    address_of,
    frames_for,
    messages_for,
)
from labkit.testers.frames import FrameSpec

LATE_AT_LEAST_MS = 0.1


class ProbeTester:
    """A generating probe that stays up between trials."""

    def __init__(
        self, probe: Probe, lab: Lab, engine: str, drain: DrainTime, note: str | None = None
    ) -> None:
        self._note = note
        self._probe = probe
        self._lab = lab
        self._drain = drain
        self._tag = 0
        self._above: dict[str, float] = {}
        self.engine = engine
        self.has_floor = False
        self.shortest_trial_s = 0.0

    def set_frames(self, spec: FrameSpec, *, own_mac: bool) -> None:
        """Send these frames from now on, to the DUT's own MAC address or to a foreign one."""
        if self.engine == TCP_ENGINE:
            arguments = messages_for(self._lab, spec)
        else:
            arguments = frames_for(self._lab, spec, own_mac=own_mac)
        self._probe.command("frames", **arguments)

    def watch(self, others: Callable[[], None]) -> None:
        """Call this each second of a trial; what it raises ends the trial."""
        self._probe.watch = others

    def count_above(self, limit_us: float | None) -> None:
        """See Tester."""
        self._above = {} if limit_us is None else {"above_us": limit_us}

    def _generate(
        self, arguments: Mapping[str, object], *, span_s: float, sink: Sink | None = None
    ) -> TrialResult:
        """One `generate`; a sink has as long for the last frames as they would have to return."""
        self._tag = self.next_tag
        began = time.monotonic()
        answer = self._probe.command(
            "generate",
            timeout_s=span_s + self._drain.max_ms / 1e3 + 10,
            tag=self._tag,
            drain_quiet_ms=self._drain.quiet_ms,
            drain_max_ms=self._drain.max_ms,
            **arguments,
        )
        if sink is not None:
            drain_ms = float(str(arguments.get("late_ms", self._drain.max_ms)))
            within_s = max(drain_ms / 1e3 - answer["drain_ns"] / 1e9, 0.0)
            answer["received"] = sink.end(answer["sent"], within_s=within_s)
        return trial_from_answer(answer, overhead_s=time.monotonic() - began - span_s)

    def measure(self, *, load_pps: float | None, duration_s: float, verify: bool = False) -> TrialResult:
        """One trial, open loop."""
        wanted = {"load_pps": load_pps, "duration_s": duration_s, **self._late(duration_s)}
        return self._generate(
            {**wanted, **({"verify": True} if verify else {}), **self._above}, span_s=duration_s
        )

    def _late(self, duration_s: float) -> dict[str, object]:
        late_ms = self._drain.late_ms(duration_s, at_least_ms=LATE_AT_LEAST_MS)
        return {} if late_ms is None else {"late_ms": late_ms}

    def measure_into_sink(self, sink: Sink, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial, one way, open loop: what the sink has taken in when the trial ends came through."""
        wanted = {"load_pps": load_pps, "duration_s": duration_s, "return": False, **self._late(duration_s)}
        sink.begin(self.next_tag)
        return self._generate(wanted, span_s=duration_s, sink=sink)

    def measure_burst(self, count: int) -> TrialResult:
        """Send `count` frames as fast as the tester goes, once."""
        return self._generate({"load_pps": None, "count": count}, span_s=0.0)

    def measure_one_way(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial in which nothing is expected back: only `sent` says something."""
        wanted = {"load_pps": load_pps, "duration_s": duration_s, "return": False}
        return self._generate(wanted, span_s=duration_s)

    def counted(self, sink: Mapping[str, Any]) -> int:
        """Frames of the trial's tag."""
        return int(sink["received"])

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """None: the kernel's counters, or those of DPDK's ports in the proof, have them."""
        return {}

    def proof(self) -> Mapping[str, object]:
        """What the engine reads back from kernel or EAL now: see PROTOCOL.md."""
        return self._probe.command("proof")

    @property
    def next_tag(self) -> int:
        """Tag of the next trial: the `tag` argument of a sink."""
        return self._tag % 65535 + 1

    @property
    def worker_tid(self) -> int:
        """Thread id of the worker, which moves the packets."""
        tid: int = self._probe.opened["worker_tid"]
        return tid

    def describe(self) -> Mapping[str, object]:
        """Engine, core, clock and mode. The proof is read back now, when the counters of its NICs have moved."""
        opened = self._probe.opened
        found: dict[str, object] = {
            k: opened[k] for k in ("engine", "version", "core", "clock") if k in opened
        }
        note = {"engine_note": self._note} if self._note else {}
        return {**found, **note, "proof": self.proof()}


AF_XDP_TESTER = ("bpf", "xdp_native", "af_xdp", "probe_af_xdp")
"""Ids of the doctor's checks that the engine af_xdp needs, at the MTU of the links."""
XDP_TESTER = ("bpf", "xdp_native", "probe_xdp", "live_frames")
"""Ids of those that the engine xdp needs, at the MTU of the links."""
DPDK_TESTER = ("dpdk", "vfio_pci", "probe_dpdk")
"""Ids of those that the engine dpdk needs on NICs."""
_NO_TESTER = {
    "packet": "packet is now called af_packet",
    "bpf": "bpf is now called xdp",
    "socket": "socket does not generate Ethernet frames",
}


def interface_engine(name: str, *, option: str) -> str:
    """The tester engine of that name. Raises ConfigInvalid for another one; former names are answered with the new."""
    if name in TESTERS:
        return name
    why = _NO_TESTER.get(name, "no such engine")
    raise ConfigInvalid(
        f"{option} {name}: {why}; expected probe, xdp, af_xdp, af_packet, trex, or on NICs dpdk"
    )


MEMORY_ENGINE = "dpdk"
"""The one on shared memory."""
KERNEL_ENGINE = "xdp"
"""Makes frames in the kernel, for veth."""
GRO_NOTE = (
    "GRO is on at the DUT's port {}: without it (or an XDP program) it takes no frames made in the kernel"
)
TCP_ENGINE = "socket"
"""Sends and receives messages over TCP connections: the tester of a mode that has some."""


def _ring(lab: Lab) -> str:
    """Whose core empties the rings of the DUT's ports: what they refuse is the DUT's loss, or was not sent."""
    ports: Any = lab.facts.get("ports", {})
    threaded = all(ports[port.port.name]["napi"]["threaded"] for port in lab.dut_ports)
    return "dut" if threaded else "tester"


def port_arguments(
    lab: Lab, ports: Sequence[LivePort], engine: str, *, ip_version: int = 4
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The `ports` and `options` of a probe's `open` for these ports. Raises ConfigInvalid for an engine that can't."""
    if engine == "dpdk":
        found: list[dict[str, object]] = []
        for port in ports:
            if port.pci is not None:
                found.append({"pci": port.pci, "mtu_bytes": port.link.mtu_bytes})
            elif port.vdev is not None:
                found.append({"vdev": port.vdev})
            else:
                raise ConfigInvalid(
                    f"the dpdk tester needs NICs or shared-memory links; {port.link.name} is {port.link.kind}"
                )
        on_nics = ports[0].pci is not None
        return found, {"huge": on_nics or bool(lab.facts.get("hugepages", False))}
    if engine == TCP_ENGINE:
        address = address_of(ports[0].port, ip_version, lab.topology)
        listens = ports[0] == lab.dut_ports[0]
        return [{"bind": address, "port": ECHO_PORT if listens else 0}], {"transport": "tcp"}
    if engine not in ("xdp", "af_xdp", "af_packet"):
        raise LabkitBug(f"engine {engine!r} has no ports on interfaces")
    return [{"interface": port.interface} for port in ports], {}


@contextmanager
def generating(
    lab: Lab, engine: str, *, drain: DrainTime = SOFTWARE_DRAIN, ip_version: int = 4
) -> Iterator[ProbeTester]:
    """Start the tester on the lab's tester ports and core. `ip_version`: of its TCP connections."""
    ports, options = port_arguments(lab, lab.tester_ports, engine, ip_version=ip_version)
    host = lab.tester_ports[0].host
    note = None
    with ExitStack() as stack:
        if engine == KERNEL_ENGINE:
            from labkit.lab.links import live_frames  # pyroute2 takes long to import

            dut = lab.dut_ports[0].host
            if not (isinstance(host, NamespaceHost) and isinstance(dut, NamespaceHost)):
                raise ConfigInvalid(f"the xdp tester makes frames for veth; {lab.topology.name} has none")
            options = {**options, "spare": stack.enter_context(live_frames.spare(host)), "ring": _ring(lab)}
            interfaces = [str(port.interface) for port in lab.dut_ports]
            if switched := stack.enter_context(live_frames.receiving(dut, interfaces)):
                note = GRO_NOTE.format(", ".join(switched))
        probe = Probe(engine, host, core=lab.cores.tester, ports=ports, options=options, name="tester")
        yield ProbeTester(stack.enter_context(probe), lab, engine, drain, note)
