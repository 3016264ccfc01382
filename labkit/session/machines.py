"""The machines that a session is connected to, and what it asks of them: findings, and readings for the gates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from labkit.errors import ConfigInvalid, ConnectionLost, EnvironmentBroken, LabkitError, Mistakes
from labkit.lab.live import Lab
from labkit.lab.machines import LOST_AFTER_S, Machine, for_agent, reached
from labkit.lab.topology import HERE, Role, Topology
from labkit.machine.lock import REPORT_EVERY_S, Busy
from labkit.machine.process import boot_id, network_namespace
from labkit.machine.ssh import Destination
from labkit.measure.noise import ONE_MACHINE, NoiseReading
from labkit.progress import Progress
from labkit.record import readings
from labkit.session.capabilities import Check, reasons
from labkit.session.destinations import destination, inventories_of, is_here

TRIED_AGAIN_AFTER_S = 60.0
NOTICED_S = 1.0
"""What goes over a lost connection ends within this time of each other."""
Workers = Mapping[Role, tuple[int, int]]
"""Thread id and intended core, by role."""


def cores_by_machine(lab: Lab, workers: Workers) -> dict[str, dict[str, int]]:
    """The intended cores by machine, then by role."""
    return {
        name: {role: core for role, (_, core) in found.items()}
        for name, found in _apart(lab, workers).items()
    }


def reader(lab: Lab) -> Callable[[Workers], Mapping[str, NoiseReading]]:
    """Reads every machine of the lab; see `record.readings.read`."""

    def read(workers: Workers) -> dict[str, NoiseReading]:
        apart = _apart(lab, workers)
        if not lab.machines:
            return {
                name: readings.read({str(role): worker for role, worker in found.items()})
                for name, found in apart.items()
            }
        machines = {machine.name: machine for machine in lab.machines.values()}
        found = {}
        for name, machine in machines.items():
            of_it = {str(role): worker for role, worker in apart[name].items()}
            interfaces = nics(lab)[name]
            found[name] = (
                readings.read(of_it, interfaces)  # so that the time of this process counts as our own
                if machine.here
                else readings.from_json(machine.ask("read", workers=of_it, interfaces=interfaces))
            )
        return found

    return read


def nics(lab: Lab, *roles: Role) -> dict[str, list[str]]:
    """The interfaces of these roles (left out: of both), by machine."""
    found: dict[str, list[str]] = {machine.name: [] for machine in lab.machines.values()}
    for port in (*lab.tester_ports, *lab.dut_ports):
        if port.interface is not None and (not roles or port.role in roles):
            found[lab.machines[port.role].name].append(port.interface)
    return found


def _apart(lab: Lab, workers: Workers) -> dict[str, Workers]:
    if not lab.machines:
        return {ONE_MACHINE: workers}
    found: dict[str, dict[Role, tuple[int, int]]] = {machine.name: {} for machine in lab.machines.values()}
    for role, worker in workers.items():
        found[lab.machines[role].name][role] = worker
    return dict(found)


def findings_of(lab: Lab, role: Role, checks: Sequence[str]) -> list[dict[str, Any]]:
    """The doctor's findings on the machine of a role, as JSON values."""
    if lab.machines:
        return _ask_findings(lab.machines[role], lab.topology, role, checks)
    from labkit import doctor

    return doctor.as_json(doctor.run(checks, mtu_bytes=lab.topology.mtu_bytes))


def _ask_findings(
    machine: Machine, topology: Topology, role: Role, checks: Sequence[str]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = machine.ask(
        "findings", checks=list(checks), mtu_bytes=topology.mtu_bytes, **for_agent(topology, role)
    )
    return found


def environments(lab: Lab) -> dict[str, object]:
    """What the lab's other machines are, by name: environment records as JSON values."""
    machines = {machine.name: machine for machine in lab.machines.values() if not machine.here}
    return {name: machine.ask("environment") for name, machine in machines.items()}


class Machines:
    """Connects to each machine once, when it is first needed."""

    def __init__(self, inventories: Sequence[str], *, wait_s: float | None, progress: Progress) -> None:
        """`wait_s`: how long to wait for a machine that another process has reserved; None: without a limit."""
        self._inventories = inventories
        self._wait_s = wait_s
        self._progress = progress
        self._ways: dict[str, tuple[str, Sequence[str]]] = {}
        """By host, the name and the inventories by which it is looked for."""
        self._destinations: dict[str, Destination | None] = {}
        self._stack = ExitStack()
        self._known: dict[str, Machine] = {}
        self._unreachable: dict[str, tuple[EnvironmentBroken, float]] = {}
        """Why, and until when it is not tried again."""
        self._lost: set[str] = set()
        """Machines whose connection was lost: an agent of ours may still be there, and have them reserved."""

    def find(self, topologies: Iterable[Topology]) -> None:
        """Find out how the hosts of topologies are reached. Raises ConfigInvalid for those that no inventory has."""
        mistakes = Mistakes()
        for topology in topologies:
            with mistakes.noted():
                self._find(topology, mistakes)
        mistakes.check()

    def _find(self, topology: Topology, mistakes: Mistakes) -> None:
        """Its mistakes are noted; raises ConfigInvalid where it can't be looked for."""
        inventories = inventories_of(topology, self._inventories)
        for name in dict.fromkeys(topology.hosts.values()):
            with mistakes.noted():
                way = HERE if is_here(name, topology, inventories) else name, inventories
                known = self._ways.setdefault(name, way)
                if name != HERE and known != way:
                    raise ConfigInvalid(
                        f"{topology.source}: the host {name} is another one in another topology of this run",
                        hint="give one inventory for both (--inventory), or run one after the other",
                    )
                self._destination(name)

    def _destination(self, name: str) -> Destination | None:
        if name not in self._destinations:
            self._destinations[name] = destination(*self._ways.get(name, (name, self._inventories)))
        return self._destinations[name]

    def identity(self, name: str, *, connect: bool = False) -> str:
        """What a machine is called: HERE for this one, else its name. Raises ConfigInvalid as `find`.

        `connect`: two names of one machine get one identity. Of a machine that cannot be reached nothing is known.
        """
        if self._destination(name) is None:
            return HERE
        if not connect:
            return name
        try:
            machine = self.get(name)
        except EnvironmentBroken:
            return name
        if (machine.kernel, machine.network) == (boot_id(), network_namespace()):
            return HERE
        return f"{machine.kernel}/{machine.network}"

    def get(self, name: str) -> Machine:
        """The machine; connected anew if the connection was lost.

        Raises EnvironmentBroken or ConfigInvalid where it cannot be reached.
        """
        known = self._known.get(name)
        if known is not None and known.connected:
            return known
        if known is not None:
            self._lost.add(name)
        if name in self._unreachable:
            error, until = self._unreachable[name]
            if time.monotonic() < until:
                raise error
        try:
            self._known[name] = self._stack.enter_context(reached(name, self._destination(name)))
        except EnvironmentBroken as error:
            # Trying again takes a minute, for each test. One that was there before may be about to come back.
            until = math.inf if known is None else time.monotonic() + TRIED_AGAIN_AFTER_S
            self._unreachable[name] = error, until
            raise
        return self._known[name]

    @contextmanager
    def reach(self, name: str) -> Iterator[Machine]:
        """The machine, for a lab: reserved until that is reverted. It stays connected."""
        machine = self.get(name)
        if not machine.here:  # this machine is the session's
            self._reserve(machine)
        yield machine

    def _reserve(self, machine: Machine) -> None:
        """Raises Busy, naming the holder, if another process still has it after the time to wait.

        After a lost connection that may be our own former agent: it ends when it has not heard of us for long enough.
        """
        began = time.monotonic()
        wait_s = math.inf if self._wait_s is None else self._wait_s
        if machine.name in self._lost:
            wait_s = max(wait_s, LOST_AFTER_S + REPORT_EVERY_S)
        while True:
            left_s = began + wait_s - time.monotonic()
            try:
                # In steps: its agent answers nothing else meanwhile.
                machine.ask("reserve", wait_s=min(max(left_s, 0.0), REPORT_EVERY_S))
            except Busy as error:
                if left_s <= REPORT_EVERY_S:
                    raise
                self._progress.phase(f"waiting, {time.monotonic() - began:.0f} s: {error.message}")
            else:
                self._lost.discard(machine.name)
                self._progress.done()
                return

    def check(self, topology: Topology) -> Check:
        """Tries doctor checks on the machine of a role. One that cannot be reached lacks all.

        Raises ConfigInvalid as `find`.
        """
        self.find([topology])

        def lacking(role: Role, checks: Sequence[str]) -> tuple[str, ...]:
            with self.watched(topology):
                try:
                    machine = self.get(topology.hosts[role])
                except EnvironmentBroken as error:
                    if topology.hosts[role] in self._known:  # it was there: this is no reason to skip a test
                        raise
                    return (f"{error.message} (fix: {error.hint or 'none known'})",)
                return reasons(_ask_findings(machine, topology, role, checks))

        return lacking

    @contextmanager
    def watched(self, topology: Topology) -> Iterator[None]:
        """Raises ConnectionLost for an error while a machine of the topology, which was there, is not connected."""
        try:
            yield
        except ConnectionLost:
            raise
        except LabkitError as error:
            if lost := self._not_connected(topology):
                raise ConnectionLost(
                    f"the connection to {' and '.join(lost)} was lost",
                    hint=f"is its network up, has it restarted? ({error.message})",
                ) from error
            raise

    def _not_connected(self, topology: Topology) -> list[str]:
        known = [self._known[name] for name in dict.fromkeys(topology.hosts.values()) if name in self._known]
        there = [machine for machine in known if not machine.here]
        deadline = time.monotonic() + NOTICED_S
        while there and all(machine.connected for machine in there) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [machine.name for machine in there if not machine.connected]

    def close(self) -> None:
        """Let all of them go."""
        self._known.clear()
        self._stack.close()
