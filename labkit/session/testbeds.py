"""The lab and the testbed that a session has up: one of each at a time, reused while they fit the measurements.

The lab is the namespaces and links of a topology; the testbed is the tester and the DUT that run in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from labkit.backends.base import Mode
from labkit.errors import LabkitBug, LabkitError
from labkit.lab.live import Lab, lab_up, on_vfio
from labkit.lab.machines import Reach
from labkit.lab.topology import PROBE, LinkKind, Topology
from labkit.measure.limits import MaxOfferedLoad
from labkit.progress import Progress
from labkit.session.datapaths import Datapath
from labkit.session.machines import environments, findings_of, reader
from labkit.session.plan import Plan
from labkit.session.testbed import SimulatedTestbed, Testbed, live_testbed, tester_on_vfio
from labkit.testers.frames import FrameSpec
from labkit.testers.offered_load import XDP_FAR_END, far_engine, measure_max_offered_load
from labkit.testers.probe import AF_XDP_TESTER, KERNEL_ENGINE, MEMORY_ENGINE, TCP_ENGINE, XDP_TESTER

SEED_STEP = 1_000_003
"""Between the seeds of one simulated DUT that is started several times; a prime, so that no two DUTs share one soon."""


STOPS = {
    # Seen on Linux 6.1 under QEMU: after some thousand frames its queue is stopped until XDP is attached anew,
    # or a frame comes in. Sockets of AF_PACKET send by the same driver without it.
    "virtio_net": "virtio_net may stop sending AF_XDP frames where nothing comes in"
}
"""Drivers that AF_XDP is not chosen for, and why."""


def engine_of_path(
    link: LinkKind,
    mode: Mode,
    lacking: Callable[[Sequence[str]], str],
    *,
    drivers: Collection[str] = (),
) -> tuple[str, str | None]:
    """The engine by which a path on interfaces is measured: its own on veth, where that can run, else the fastest.

    And why it is no other. `lacking` says which of the doctor's checks fails at the tester, and why; empty: none does.
    `drivers`: of the tester's NICs.
    """
    notes = []
    if mode.tester == KERNEL_ENGINE and link is LinkKind.VETH:
        if not (why := lacking(XDP_TESTER)):
            return KERNEL_ENGINE, None
        notes.append(f"the tester makes no frames in the kernel: {why}")
    engine = "af_xdp"
    stops = [STOPS[driver] for driver in drivers if driver in STOPS]
    if why := stops[0] if stops else lacking(AF_XDP_TESTER):
        engine = "af_packet"
        notes.append(f"the tester sends through AF_PACKET, not AF_XDP: {why}")
    return engine, "; ".join(notes) or None


def _lacking(lab: Lab, checks: Sequence[str]) -> str:
    """Which of the doctor's checks fails first on the tester's machine, and why; empty: none does."""
    lacking = next((finding for finding in findings_of(lab, "tester", checks) if not finding["ok"]), None)
    return f"{lacking['id']}: {lacking['error']}" if lacking else ""


class Testbeds:
    """Brings labs and testbeds up on demand.

    `output` says in which folder the output of programs is kept (`Lab.output`). `on_topology` is called with each that
    comes up, its links' facts, and what its other machines are. `reach` is needed for labs on NICs.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        tester_engine: str | None,
        trex_dir: str | None = None,
        seed: int | None,
        progress: Progress,
        on_topology: Callable[[Topology, Mapping[str, object] | None, Mapping[str, object]], None],
        reach: Reach | None = None,
        output: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self._plan = plan
        self._output = output
        self._reach = reach
        self._tester_engine = tester_engine
        self._trex_dir = trex_dir
        self._seed = seed
        self._progress = progress
        self._on_topology = on_topology
        self._lab_stack = ExitStack()
        self._testbed_stack = ExitStack()
        self._lab: Lab | None = None
        self._borrowed: Lab | None = None
        self._testbed: Testbed | None = None
        self._traces = False
        """Whether its datapath may leave the lab changed."""
        self._testbed_key: tuple[str, str, str, int] | None = None
        self._simulated_starts: dict[tuple[str, str, str, int], int] = {}
        self._max_offered_loads: dict[tuple[str, str, str], MaxOfferedLoad] = {}

    def use(self, lab: Lab) -> None:
        """Measure on this lab, which is up already and stays up."""
        self._borrowed = lab

    def _lab_for(self, datapath: Datapath) -> Lab:
        if self._borrowed is not None:
            if self._borrowed.topology.name != datapath.topology.name:
                raise LabkitBug(
                    f"lab {self._borrowed.topology.name} is in use, {datapath.topology.name} was asked for"
                )
            return self._borrowed
        if self._lab is None or self._lab.topology != datapath.topology:
            self.close()
            self._progress.phase(f"lab {datapath.topology.name}: bringing it up")
            self._lab = self._lab_stack.enter_context(lab_up(datapath.topology, reach=self._reach))
            self._on_topology(datapath.topology, self._lab.facts, environments(self._lab))
        return self._lab

    def drop_lost(self) -> None:
        """Let go of a lab whose connection was lost: what is left there is reverted there, by its agent."""
        if self._lab is not None and not self._lab.connected:
            with suppress(LabkitError):
                self.close()

    def _engine(self, lab: Lab, mode: Mode) -> tuple[str, str | None]:
        """The tester's engine; and, unless the user chose it, why it is not the fastest one."""
        if mode.tcp:
            return TCP_ENGINE, None
        chosen = self._tester_engine or lab.topology.tester
        if chosen == PROBE:
            chosen = None
        if chosen == "trex":
            return chosen, None
        if lab.tester_ports[0].interface is None:
            return MEMORY_ENGINE, None
        if chosen is not None:
            return chosen, None
        ports: Any = lab.facts.get("ports", {}) if lab.machines else {}
        drivers = {str(ports[port.port.name]["driver"]) for port in lab.tester_ports if ports}
        return engine_of_path(lab.topology.links[0].kind, mode, partial(_lacking, lab), drivers=drivers)

    def testbed(self, datapath: Datapath, ip_version: int) -> Testbed:
        """The running testbed of a datapath; the former one is stopped, and its lab too if the topology differs."""
        key = (datapath.topology.name, datapath.backend.name, datapath.mode.name, ip_version)
        self.drop_lost()
        if self._testbed is None or self._testbed_key != key:
            self.close_testbed()
            simulated = datapath.topology.simulation.get(datapath.backend.name)
            if simulated is not None:
                self._on_topology(datapath.topology, None, {})
                spec = simulated if self._seed is None else replace(simulated, seed=self._seed)
                # One that is started again keeps its parameters, and draws other random numbers.
                starts = self._simulated_starts[key] = self._simulated_starts.get(key, -1) + 1
                spec = replace(spec, seed=spec.seed + SEED_STEP * starts)
                self._testbed, self._testbed_key = SimulatedTestbed(spec), key
                return self._testbed
            lab = replace(self._lab_for(datapath), output=self._output)
            engine, note = self._engine(lab, datapath.mode)
            self._traces = getattr(datapath.backend, "leaves_traces", False)
            self._testbed = self._testbed_stack.enter_context(
                live_testbed(
                    lab,
                    datapath,
                    engine=engine,
                    engine_note=note,
                    ip_version=ip_version,
                    drain=self._plan.drain,
                    trex_dir=self._trex_dir,
                )
            )
            self._testbed_key = key
        return self._testbed

    def max_offered_load(
        self, datapath: Datapath, frames: FrameSpec, *, again: bool
    ) -> MaxOfferedLoad | None:
        """The most that the tester can send on this link, measured once a link and frame size.

        None for a DUT that only takes messages in over TCP: that is how the most would be measured.

        `again`: measure it once more if it was disturbed. A higher rate that was counted before still counts.
        """
        simulated = datapath.topology.simulation.get(datapath.backend.name)
        if simulated is not None:
            return MaxOfferedLoad(pps=simulated.max_offered_load_pps)
        if datapath.mode.tcp == "sink":
            return None
        tester = datapath.mode.tcp or datapath.mode.tester
        key = (datapath.topology.name, tester, str(frames.size))
        known = self._max_offered_loads.get(key)
        if known is None or (again and known.disturbed):
            try:
                found = self._measure_max_offered_load(datapath, frames)
            except LabkitError:
                if known is None:
                    raise
                return (
                    known  # it is as unsure as before; if the lab is broken, the next measurement reports it
                )
            known = found if known is None else replace(found, pps=max(found.pps, known.pps))
            self._max_offered_loads[key] = known
        return known

    def _measure_max_offered_load(self, datapath: Datapath, frames: FrameSpec) -> MaxOfferedLoad:
        self.drop_lost()
        self.close_testbed()
        lab = self._lab_for(datapath)
        self._progress.phase(f"{datapath.topology.name}: the tester's maximum offered load")
        engine, _ = self._engine(lab, datapath.mode)
        # A lab of this machine has no AF_XDP tester where its links take no XDP program.
        xdp_ok = not lab.machines or all(one["ok"] for one in findings_of(lab, "dut", XDP_FAR_END))
        in_memory = lab.tester_ports[0].interface is None
        on_nics, _ = tester_on_vfio(lab, engine)
        with on_vfio(lab, ["tester"]) if on_nics else nullcontext(lab) as bound:
            return measure_max_offered_load(
                bound,
                engine=engine,
                receiver=far_engine(engine, xdp_ok=xdp_ok, in_memory=in_memory),
                frames=frames,
                trials=self._plan.offered_load_trials,
                duration_s=self._plan.offered_load_duration_s,
                trex_dir=self._trex_dir,
                floor=bool(lab.topology.tester_option),  # so that testers can be told apart
                read=reader(bound),
            )

    def close_testbed(self) -> None:
        """Stop tester and DUT; the next call of `testbed` starts new ones."""
        self._testbed, self._testbed_key = None, None
        traces, self._traces = self._traces, False
        try:
            self._testbed_stack.close()
        finally:
            if traces:  # the next datapath begins on a DUT that nobody has changed
                self._lab = None
                self._lab_stack.close()

    def close(self) -> None:
        """Take everything down."""
        try:
            self.close_testbed()
        finally:
            self._lab = None
            self._lab_stack.close()
