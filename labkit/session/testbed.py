"""A testbed: a tester and a DUT that are running, on which trials are made.

Two kinds: a live one (in a lab, with probe and backend) and a simulated one. All callers see only the protocol.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

from labkit.backends.base import Dut
from labkit.backends.onload_stacks import undisturbed
from labkit.backends.probe_dut import port_proofs
from labkit.errors import LabkitError, ToolFailed
from labkit.lab.live import Lab, on_vfio
from labkit.lab.simulation import SimulatedSpec
from labkit.lab.topology import ROLES, Port, Role
from labkit.measure import nic
from labkit.measure.gate import Gate
from labkit.measure.noise import ONE_MACHINE, NoiseReading
from labkit.measure.proof import Proof
from labkit.measure.trial import TrialResult
from labkit.record import readings
from labkit.session.datapaths import Datapath
from labkit.session.machines import Workers, cores_by_machine, findings_of, nics, reader
from labkit.session.neighbour import Neighbour, Place, running
from labkit.session.neighbour import place as neighbour_at
from labkit.testers.base import DrainTime, Tester
from labkit.testers.frames import FrameSpec
from labkit.testers.probe import ProbeTester
from labkit.testers.simulated import SimulatedTester
from labkit.testers.start import PASSING_NOTE, generating, needs_passing, passing

FIRST_LOAD_PPS, FIRST_S, FIRST_ATTEMPTS = 200.0, 0.1, 3
"""Frames by which it is seen whether a program of the user's own answers at all."""

ENDS_WITHIN_S = 0.5


class Testbed(Protocol):
    """A Measurer and BurstMeasurer, with the facts that show whether its trials can be trusted."""

    @property
    def shortest_trial_s(self) -> float:
        """See Tester."""
        ...

    def set_frames(self, spec: FrameSpec) -> None:
        """Send these frames from now on."""
        ...

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial. Raises ToolFailed when tester or DUT died."""
        ...

    def count_above(self, limit_us: float | None) -> None:
        """See Tester."""
        ...

    def place(self, neighbour: Neighbour) -> Place:
        """Where a noisy neighbour of the DUT's can run."""
        ...

    def beside(self, neighbour: Neighbour, cores: Sequence[int]) -> AbstractContextManager[object]:
        """It runs for the time of the context."""
        ...

    def measure_burst(self, count: int) -> TrialResult:
        """One burst of `count` frames."""
        ...

    def proof(self) -> Proof:
        """That traffic took the datapath."""
        ...

    def tester(self) -> Mapping[str, object]:
        """Facts of the tester, for the record."""
        ...

    def read(self) -> Mapping[str, NoiseReading]:
        """What the gates judge, of each machine that takes part."""
        ...

    def cores(self) -> Mapping[str, Mapping[str, int]]:
        """The intended core of each worker, by machine and role: their affinity is read back."""
        ...

    def gates(self, before: Mapping[str, NoiseReading], after: Mapping[str, NoiseReading]) -> Sequence[Gate]:
        """Over its NICs: what does not change while it is up, and their counters around a measurement."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """The time in which its trials pass [s]: monotonic, virtual where simulated."""
        ...

    def pause(self, seconds: float) -> None:
        """Let this time pass without a trial."""
        ...


class LiveTestbed:
    """A probe on the tester's ports and a backend on the DUT's."""

    def __init__(
        self, lab: Lab, datapath: Datapath, dut: Dut, tester: Tester, engine_note: str | None = None
    ) -> None:
        self._lab = lab
        self._engine_note = engine_note
        self._datapath = datapath
        self._dut = dut
        self._tester = tester
        self._tried: set[FrameSpec] = set()

    @property
    def shortest_trial_s(self) -> float:
        """See Tester."""
        return self._tester.shortest_trial_s

    def set_frames(self, spec: FrameSpec) -> None:
        """Send these frames from now on."""
        self._tester.set_frames(spec, own_mac=self._datapath.own_mac)
        # A program that labkit does not know is tried once with each kind of frame.
        wrong = getattr(self._dut, "wrong", None)
        if wrong is None or spec in self._tried:
            return
        for attempt in range(FIRST_ATTEMPTS):
            trial = self._watched(
                lambda: self._tester.measure(load_pps=FIRST_LOAD_PPS, duration_s=FIRST_S, verify=True)
            )
            self._dut.check_alive()
            why = wrong(trial)
            if not why:
                break
            # On a busy machine either may have been off its core.
            if attempt + 1 == FIRST_ATTEMPTS:
                raise ToolFailed(why)
            time.sleep(FIRST_S)
        self._tried.add(spec)

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial. Raises ToolFailed if the tester or the DUT died in it."""
        dut: Any = self._dut
        tcp = self._datapath.mode.tcp
        before = dut.tcp() if hasattr(dut, "tcp") else None
        tester = self._tester
        if tcp == "sink" and isinstance(tester, ProbeTester):
            trial = self._watched(
                lambda: tester.measure_into_sink(dut, load_pps=load_pps, duration_s=duration_s)
            )
        else:
            trial = self._watched(lambda: tester.measure(load_pps=load_pps, duration_s=duration_s))
        if before is not None:
            trial = replace(trial, tcp={**trial.tcp, "dut": dut.tcp().since(before)})
        return self._ended(trial)

    def _watched(self, trial: Callable[[], TrialResult]) -> TrialResult:
        """A trial over connections ends when the DUT does: then that is what is reported.

        Its connections end a moment before it is known that it has.
        """
        try:
            return trial()
        except LabkitError:
            until = time.monotonic() + (ENDS_WITHIN_S if self._datapath.mode.tcp else 0.0)
            self._dut.check_alive()
            while time.monotonic() < until:
                time.sleep(ENDS_WITHIN_S / 20)
                self._dut.check_alive()
            raise

    def count_above(self, limit_us: float | None) -> None:
        """See Tester."""
        self._tester.count_above(limit_us)

    def place(self, neighbour: Neighbour) -> Place:
        """See Testbed."""
        machines = self._lab.machines
        alone = bool(machines) and machines["tester"].name != machines["dut"].name
        taken = [self._lab.cores.dut, *([] if alone else [self._lab.cores.tester])]
        return neighbour_at(neighbour, self._lab.dut_ports[0].host, taken)

    def beside(self, neighbour: Neighbour, cores: Sequence[int]) -> AbstractContextManager[object]:
        """See Testbed."""
        return running(neighbour, self._lab.dut_ports[0].host, cores)

    def measure_burst(self, count: int) -> TrialResult:
        """One burst."""
        return self._ended(self._watched(lambda: self._tester.measure_burst(count)))

    def _ended(self, trial: TrialResult) -> TrialResult:
        self._dut.check_alive()
        count = getattr(self._dut, "count", None)
        if count is not None:
            count(trial)
        return trial

    @property
    def clock(self) -> Callable[[], float]:
        """Real time."""
        return time.monotonic

    def pause(self, seconds: float) -> None:
        """Sleep. Raises ToolFailed if the DUT died meanwhile."""
        time.sleep(seconds)
        self._dut.check_alive()

    def proof(self) -> Proof:
        """The DUT's own proof."""
        return self._dut.proof()

    def tester(self) -> Mapping[str, object]:
        """Engine, core, clock and mode; and why it is not the fastest engine, where it is not."""
        described = self._tester.describe()
        notes = [str(note) for note in (described.get("engine_note"), self._engine_note) if note]
        return {**described, **({"engine_note": "; ".join(notes)} if notes else {})}

    def read(self) -> Mapping[str, NoiseReading]:
        """The machines of the lab; a NIC that is no interface of the kernel's is read by its driver of user space."""
        found = dict(reader(self._lab)(self._workers()))
        for role in ROLES:
            if counted := {address: port["counters"] for address, port in self._driven_nics(role).items()}:
                machine = self._lab.machines[role].name
                found[machine] = replace(found[machine], nics={**found[machine].nics, **counted})
        if own := self._tester.counters():
            machine = self._tester_machine
            found[machine] = replace(found[machine], nics={**found[machine].nics, **own})
        return found

    @property
    def _tester_machine(self) -> str:
        return self._lab.machines["tester"].name if self._lab.machines else ONE_MACHINE

    def _driven_nics(self, role: Role) -> dict[str, Mapping[str, Any]]:
        """What a role's driver of user space reports of its NICs, by PCI address: `port_proofs`."""
        ports = self._lab.dut_ports if role == "dut" else self._lab.tester_ports
        driven = {port.pci for port in ports if port.pci is not None}
        if not driven:
            return {}
        return {
            str(port["device"]): port
            for port in port_proofs(self._dut.proof().evidence if role == "dut" else self._tester.proof())
            if port.get("device") in driven and "counters" in port
        }

    def cores(self) -> Mapping[str, Mapping[str, int]]:
        """Those of the workers that run."""
        return cores_by_machine(self._lab, self._workers())

    def gates(self, before: Mapping[str, NoiseReading], after: Mapping[str, NoiseReading]) -> Sequence[Gate]:
        """Those of NICs, in a lab that has some."""
        counted = nic.differences(before, after)
        own = list(self._tester.counters())
        if not self._lab.machines:
            return (nic.rx_missed_gate(counted, {ONE_MACHINE: own}),) if own else ()
        facts: Any = self._lab.facts["ports"]
        cores: Mapping[Role, int] = {"tester": self._lab.cores.tester, "dut": self._lab.cores.dut}
        driven = {role: self._driven_nics(role) for role in ROLES}

        def end(role: Role, port: Port) -> nic.NicFacts:
            found = facts[port.name]
            if driver := driven[role].get(port.pci):
                found = {**found, **nic.by_its_driver(driver)}
            return nic.of_port(found, machine=self._lab.machines[role].name, core=cores[role])

        links = [
            (end("tester", port.link.tester), end("dut", port.link.dut)) for port in self._lab.tester_ports
        ]
        testers = nics(self._lab, "tester")
        testers[self._tester_machine] += [*driven["tester"], *own]
        return (*nic.gates(links), nic.crc_errors_gate(counted), nic.rx_missed_gate(counted, testers))

    def _workers(self) -> Workers:
        """The workers of the probes that run."""
        found: dict[Role, tuple[int, int]] = {"tester": (self._tester.worker_tid, self._lab.cores.tester)}
        tid = getattr(self._dut, "worker_tid", None)
        if isinstance(tid, int):
            found["dut"] = (tid, self._lab.cores.dut)
        return found


def tester_on_vfio(lab: Lab, engine: str) -> tuple[bool, str | None]:
    """Whether the tester's NICs are to be bound to vfio-pci; and why TRex drives interfaces where there are NICs."""
    if not lab.machines or engine not in ("dpdk", "trex"):
        return False, None
    if engine == "dpdk":
        return True, None
    if not all(port.port.pci for port in lab.tester_ports):
        return False, None
    (found,) = findings_of(lab, "tester", ["trex_nics"])
    return found["ok"], None if found[
        "ok"
    ] else f"TRex sends by packet sockets, not by DPDK: {found['error']}"


@contextmanager
def live_testbed(
    lab: Lab,
    datapath: Datapath,
    *,
    engine: str,
    engine_note: str | None = None,
    ip_version: int,
    drain: DrainTime,
    trex_dir: str | None = None,
) -> Iterator[LiveTestbed]:
    """Start the DUT's datapath, then the tester. Raises ConfigInvalid where they do not go together."""
    undisturbed(lab)
    with ExitStack() as stack:
        if datapath.backend.name == "xdp" and needs_passing(lab, engine):
            stack.enter_context(passing(lab))
            engine_note = "; ".join(note for note in (engine_note, PASSING_NOTE) if note)
        on_nics, why_not = tester_on_vfio(lab, engine)
        engine_note = "; ".join(note for note in (engine_note, why_not) if note) or None
        by_dpdk: dict[Role, bool] = {"tester": on_nics, "dut": datapath.mode.on_vfio}
        if any(by_dpdk.values()):
            lab = stack.enter_context(on_vfio(lab, [role for role in ROLES if by_dpdk[role]]))
        # A link is down until DPDK's driver has started its port. DPDK's own tester waits for it.
        if by_dpdk["tester"]:
            tester = stack.enter_context(generating(lab, engine, drain=drain, trex_dir=trex_dir))
            if not by_dpdk["dut"]:
                lab.machines["dut"].ask("await_carrier", role="dut")
        dut = stack.enter_context(datapath.backend.start(lab, datapath.mode, ip_version=ip_version))
        if not by_dpdk["tester"]:
            if by_dpdk["dut"]:
                lab.machines["tester"].ask("await_carrier", role="tester")
            tester = stack.enter_context(
                generating(lab, engine, drain=drain, trex_dir=trex_dir, ip_version=ip_version)
            )

        def check() -> None:
            dut.check_alive()
            if not lab.connected:
                raise ToolFailed(f"a machine of the lab {lab.topology.name} is no longer connected")

        tester.watch(check)
        yield LiveTestbed(lab, datapath, dut, tester, engine_note)


class SimulatedTestbed:
    """The simulated DUT. Its figures are of a model, and every record says so."""

    def __init__(self, spec: SimulatedSpec) -> None:
        self._spec = spec
        self._tester = SimulatedTester(spec)
        self.shortest_trial_s = 0.0

    @property
    def clock(self) -> Callable[[], float]:
        """Virtual time."""
        return self._tester.clock

    def pause(self, seconds: float) -> None:
        """Advance that."""
        self._tester.clock.advance(seconds)

    def set_frames(self, spec: FrameSpec) -> None:
        """The model ignores frames."""

    def measure(self, *, load_pps: float | None, duration_s: float) -> TrialResult:
        """One trial, in virtual time."""
        return self._tester.measure(load_pps=load_pps, duration_s=duration_s)

    def count_above(self, limit_us: float | None) -> None:
        """The model has no order of frames."""

    def place(self, neighbour: Neighbour) -> Place:
        """Nowhere."""
        return Place(why_not="the DUT is simulated")

    def beside(self, neighbour: Neighbour, cores: Sequence[int]) -> AbstractContextManager[object]:
        """Never asked for."""
        return nullcontext()

    def measure_burst(self, count: int) -> TrialResult:
        """One burst, in virtual time."""
        return self._tester.measure_burst(count)

    def proof(self) -> Proof:
        """There is no datapath; what is proven is that this is a simulation."""
        return Proof(
            proven=True,
            claim="a simulated DUT: no packet was sent",
            evidence={"capacity_pps": self._spec.capacity_pps, "python": platform.python_version()},
        )

    def tester(self) -> Mapping[str, object]:
        """The simulated tester."""
        return {"engine": "simulated", "max_offered_load_pps": self._spec.max_offered_load_pps}

    def read(self) -> Mapping[str, NoiseReading]:
        """Of this machine: no process of the testbed runs."""
        return {ONE_MACHINE: readings.read({})}

    def cores(self) -> Mapping[str, Mapping[str, int]]:
        """No process runs."""
        return {}

    def gates(self, before: Mapping[str, NoiseReading], after: Mapping[str, NoiseReading]) -> Sequence[Gate]:
        """There are no NICs."""
        return ()
