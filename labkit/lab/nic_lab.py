"""A lab on NICs: the machines of its two roles are reached, their ports found and set up, and reverted at the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError
from labkit.lab.cores import Cores
from labkit.lab.links import cabling, nic
from labkit.lab.machines import Machine, Reach, controller, for_agent
from labkit.lab.records import LabRecord
from labkit.lab.topology import HERE, ROLES, Link, Role, Topology
from labkit.machine import fix
from labkit.machine.cores import pinned_here
from labkit.machine.journal import Journal
from labkit.machine.undo import Undone, down

VFIO_MEMORY_BYTES = 64 << 20
"""For the probe's frames and the rings of two ports, in hugepages."""


@dataclass(frozen=True, slots=True)
class Wired:
    """What is up."""

    links: tuple[Link, ...]
    """With the interfaces and MAC addresses that were found."""
    machines: Mapping[Role, Machine]
    cores: Cores
    ports: Mapping[str, object]
    """Read back, by the name of the port."""


@contextmanager
def wired(topology: Topology, reach: Reach, *, lab: str, kept: Collection[str] = ()) -> Iterator[Wired]:
    """Set the lab up for the time of the context; `lab` is its id.

    Each machine's agent reverts it: when it is asked to, or when the connection ends. What a killed agent leaves is in
    the journal there. Machines whose names are in `kept` at the end keep it.

    Raises EnvironmentBroken (not reached, no such interface, refused, other cables) or ConfigInvalid (cores).
    """
    with _found(topology, reach, lab=lab, kept=kept) as (machines, cores, ports):
        found: dict[str, object] = {}
        for role in ROLES:
            machines[role].ask("wire", **for_agent(topology, role), lab=lab, ports=ports)
        for role in ROLES:  # a link is there only when both of its ends are up
            found.update(machines[role].ask("await_carrier", role=role, listen=role == "dut"))
        machines["tester"].ask("announce", role="tester")
        links = nic.with_ports(topology.links, ports)
        cabling.check(topology, links, machines["dut"].ask("heard"))
        yield Wired(links, machines, cores, found)


@contextmanager
def attached(record: LabRecord, reach: Reach) -> Iterator[Wired]:
    """A lab that is up, for the time of the context; it stays. Raises EnvironmentBroken if it is gone on a machine."""
    topology = record.topology
    with _found(topology, reach, lab=None) as (machines, cores, ports):
        found: dict[str, object] = {}
        for role in ROLES:
            machine = machines[role]
            if not machine.ask("attach", **for_agent(topology, role), lab=record.id, ports=ports)["up"]:
                raise EnvironmentBroken(
                    f"the lab {topology.name} is no longer up on {machine.name}: it was taken down there, or the host "
                    "has restarted",
                    hint=f"{fix.labkit('down')}; {fix.labkit('up', '--topology', str(topology.source))}",
                )
        for role in ROLES:
            found.update(machines[role].ask("await_carrier", role=role))
        yield Wired(nic.with_ports(topology.links, ports), machines, cores, found)


@contextmanager
def bound_to_vfio(machines: Mapping[Role, Machine]) -> Iterator[dict[str, str]]:
    """The ports of these roles, bound to vfio-pci for the time of the context: the PCI address of each, by name.

    Meanwhile they are no interfaces; afterwards they are, set up for the lab as before. Raises EnvironmentBroken where
    one can't be bound.
    """
    addresses: dict[str, str] = {}
    with ExitStack() as stack:
        for machine in _each(machines):
            roles = [role for role, one in machines.items() if one is machine]
            addresses |= machine.ask("bind_vfio", roles=roles, memory_bytes=VFIO_MEMORY_BYTES * len(roles))
            stack.callback(machine.ask, "unbind_vfio")
        yield addresses
    for role, machine in machines.items():
        machine.ask("await_carrier", role=role)


def leave_up(record: LabRecord, reach: Reach, journal: Journal) -> None:
    """Set a lab up that stays until `take_down`, on each of its machines. If this fails halfway it is reverted."""
    kept: set[str] = set()
    with wired(record.topology, reach, lab=record.id, kept=kept) as found:
        journal.lab_is_up(record.id, record.to_json())  # first: from now on `labkit down` knows where it is
        try:
            for machine in _each(found.machines):
                there = None if machine.here else replace(record, controller=controller()).to_json()
                machine.ask("keep", record=there)
                kept.add(machine.name)
        except BaseException:
            by_name = {machine.name: machine for machine in found.machines.values()}
            left = take_down(record, by_name.__getitem__, force=True)
            # What the agent of this machine was to keep is in this journal.
            standing = [record.id] if any(undone.left for undone in left) else []
            down(lab=record.id, journal=journal, force=True, standing=standing)
            raise


def take_down(record: LabRecord, get: Callable[[str], Machine], *, force: bool) -> list[Undone]:
    """Take a lab down on its machines elsewhere; what is here, this machine's own journal has.

    Unless forced, only where nobody measures.
    """
    undone: list[Undone] = []
    for name in dict.fromkeys(record.topology.hosts.values()):
        if name == HERE:
            continue
        try:
            there = get(name).ask("take_down", lab=record.id, force=force)
            undone += [Undone(**{**one, "what": f"{name}: {one['what']}"}) for one in there]
        except LabkitError as error:
            undone.append(Undone(lab=record.id, what=name, done=False, left=str(error)))
    return undone


@contextmanager
def _found(
    topology: Topology, reach: Reach, *, lab: str | None, kept: Collection[str] = ()
) -> Iterator[tuple[dict[Role, Machine], Cores, nic.Ports]]:
    """The machines of a topology, a core for each role, and its ports as they are found there.

    `lab`: its id, where it is to be set up; `kept`: see `wired`.
    """
    with ExitStack() as stack:
        by_name = {name: stack.enter_context(reach(name)) for name in dict.fromkeys(topology.hosts.values())}
        machines = {role: by_name[topology.hosts[role]] for role in ROLES}
        cores = _cores(topology, machines)
        # This process is off the cores of what runs here.
        here = any(machine.here for machine in by_name.values())
        stack.enter_context(pinned_here(cores.controller) if here and cores.controller else nullcontext())

        def revert(_kind: object, error: BaseException | None, _trace: object) -> None:
            # A lost connection that is being reported already is not reported once more: the agent there reverts.
            asked = [one for one in by_name.values() if error is None or one.connected]
            _revert([one for one in asked if one.name not in kept])

        stack.push(revert)
        ports: nic.Ports = {
            role: machines[role].ask("find", **for_agent(topology, role), lab=lab) for role in ROLES
        }
        _check_apart(topology, machines, ports)
        yield machines, cores, ports


def _each(machines: Mapping[Role, Machine]) -> list[Machine]:
    return list({machine.name: machine for machine in machines.values()}.values())


def _cores(topology: Topology, machines: Mapping[Role, Machine]) -> Cores:
    """A core for each role; the controller's are those of this machine, none if no role is here."""
    wanted = {"tester": topology.tester_core, "dut": topology.dut_core}
    chosen: dict[str, int] = {}
    controller: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()
    for role, machine in machines.items():
        if role in chosen:
            continue
        # Two containers of one machine share its cores.
        same = [other for other in ROLES if machines[other].kernel == machine.kernel]
        answer = machine.ask("cores", asked={other: wanted[other] for other in same})
        # An agent keeps off the cores that it chose: one that is for both roles is asked once.
        chosen |= {other: answer["chosen"][other] for other in same if machines[other] is machine}
        if machine.here:
            controller, shared = tuple(answer["controller"]), tuple(answer["shared"])
    return Cores(tester=chosen["tester"], dut=chosen["dut"], controller=controller, shared=shared)


def _check_apart(topology: Topology, machines: Mapping[Role, Machine], ports: nic.Ports) -> None:
    """Every port is an interface of its own. Raises ConfigInvalid."""
    seen: dict[tuple[str, int, str], str] = {}
    for role in ROLES:
        for link, port in zip(topology.links, ports[role], strict=True):
            place = (machines[role].kernel, machines[role].network, port["interface"])
            name = link.ends(role)[0].name
            if place in seen:
                raise ConfigInvalid(
                    f"{topology.source}: {seen[place]} and {name} are both the interface {port['interface']} "
                    f"of {machines[role].name}",
                    hint="name another interface",
                )
            seen[place] = name


def _revert(machines: Sequence[Machine]) -> None:
    """Revert all of them, also if one can't."""
    errors: list[LabkitError] = []
    for machine in machines:
        try:
            machine.ask("revert")
        except LabkitError as error:
            errors.append(error)
    if errors:
        raise errors[0]
