"""A live lab: brings a Topology up and down, for the time of a context or until `down`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitBug
from labkit.lab.cores import Cores, choose
from labkit.lab.links import shared_memory
from labkit.lab.machines import Machine, Reach
from labkit.lab.records import LabRecord, status
from labkit.lab.topology import Link, LinkKind, Port, Role, Tier, Topology
from labkit.machine import fix, hugepages
from labkit.machine.cores import pinned_here
from labkit.machine.hosts import Host, NamespaceHost
from labkit.machine.journal import Journal
from labkit.machine.namespaces import NamespaceHolder, start_holder
from labkit.machine.privilege import Privileges, ensure_privileges, join_user_namespace, state_directory
from labkit.machine.tunables import ProcessTunable
from labkit.machine.undo import Undone, down
from labkit.progress import ReportLine

if TYPE_CHECKING:
    from labkit.lab.nic_lab import Wired

__all__ = [
    "Cores",
    "Lab",
    "LabRecord",
    "LivePort",
    "Role",
    "Undone",
    "attach",
    "attached",
    "down",
    "lab_up",
    "on_vfio",
    "status",
    "take_down",
    "up",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePort:
    """One end of a link that is up."""

    role: Role
    port: Port
    peer: Port
    link: Link
    host: Host
    interface: str | None
    """The network interface (veth, NIC), in the host's namespace."""
    vdev: str | None = None
    """The EAL --vdev value of this end (shared-memory links)."""
    pci: str | None = None
    """The PCI address of a NIC that is bound to vfio-pci, and so is no interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What is up: all that backends and testers need to know."""

    topology: Topology
    cores: Cores
    tester_ports: tuple[LivePort, ...]
    dut_ports: tuple[LivePort, ...]
    facts: Mapping[str, object]
    """Read back from the live lab: "ports" (by name: offloads, NAPI, qdisc, MTU, ...), "hugepages" (granted or not),
    "privileges" (root, or how it works without)."""
    machines: Mapping[Role, Machine] = field(default_factory=dict)
    """Of a lab on NICs: the machine of each role. Empty: all of it is on this one."""
    output: Callable[[], Path | None] = lambda: None
    """The folder for what programs of the user's own print; None: it is not kept."""

    @property
    def connected(self) -> bool:
        """Whether all of its machines are."""
        return all(machine.connected for machine in self.machines.values())


@contextmanager
def lab_up(
    topology: Topology, *, reach: Reach | None = None, progress: ReportLine | None = None
) -> Iterator[Lab]:
    """Bring a lab up for the time of the context. It ends with this process (and this thread), however that ends.

    The controller (this process) is kept off the DUT's core meanwhile. Only hugepages outlive a kill -9; they are in
    the journal, and `down` reverts them. `reach` connects to the machines of a lab on NICs.

    Raises ConfigInvalid (cores), EnvironmentBroken (privileges, hugepages, the kernel refuses a link).
    """
    if topology.links[0].kind is LinkKind.NIC:
        from labkit.lab.nic_lab import wired  # pyroute2 takes long to import

        if reach is None:
            raise LabkitBug("a lab on NICs needs a way to reach its machines")
        with wired(topology, reach, lab=_new_id(topology)) as found:
            yield _on_nics(topology, found)
        return
    cores, privileges = _prepare(topology)
    journal, lab = Journal(state_directory()), _new_id(topology)
    with ExitStack() as stack:
        stack.enter_context(pinned_here(cores.controller))
        stack.callback(_revert, lab, journal)
        huge = _hugepages(topology, privileges, journal, lab)
        holders = _holders(topology, stack, detached=False)
        yield _wire(topology, cores, holders, privileges, hugepages=huge, progress=progress)


def up(
    topology: Topology,
    *,
    reach: Reach | None = None,
    inventories: Sequence[str] = (),
    progress: ReportLine | None = None,
) -> LabRecord:
    """Bring a lab up that stays until `down`. If this fails halfway or is killed, `down` reverts what is left.

    `reach` connects to the machines of a lab on NICs, by these `inventories`. Raises as lab_up, and EnvironmentBroken
    if a lab of that name is up already.
    """
    journal, lab = Journal(state_directory()), _new_id(topology)
    for record in status(journal):
        if record.topology.name == topology.name:
            how = "is up" if record.alive else "is no longer up, but was not taken down"
            raise EnvironmentBroken(
                f"the lab {topology.name} {how} (since {record.since})", hint=fix.labkit("down")
            )
    new = LabRecord(
        id=lab,
        topology=topology,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        holders={},
        hugepages=False,
        rootless=False,
        inventories=tuple(inventories),
    )
    if new.on_nics:
        from labkit.lab.nic_lab import leave_up

        if reach is None:
            raise LabkitBug("a lab on NICs needs a way to reach its machines")
        leave_up(new, reach, journal)
        return new
    cores, privileges = _prepare(topology)
    with ExitStack() as stack:
        stack.callback(_revert, lab, journal)
        huge = _hugepages(topology, privileges, journal, lab)
        holders = _holders(topology, stack, detached=True)
        for holder in {holder.identity: holder for holder in holders.values()}.values():
            described = ProcessTunable(holder.identity).describe()
            journal.begin(lab=lab, tunable=described, old="gone", new="running")
            holder.stay()
        _wire(topology, cores, holders, privileges, hugepages=huge, progress=progress)
        record = replace(
            new,
            holders={role: holder.identity for role, holder in holders.items()},
            hugepages=huge,
            rootless=privileges.rootless,
        )
        journal.lab_is_up(lab, record.to_json())
        stack.pop_all()
    return record


@contextmanager
def attached(record: LabRecord, *, reach: Reach) -> Iterator[Lab]:
    """A lab that is up, as it is found now; it stays up. Raises as `attach`."""
    if not record.on_nics:
        yield attach(record)
        return
    from labkit.lab import nic_lab

    with nic_lab.attached(record, reach) as found:
        yield _on_nics(record.topology, found)


@contextmanager
def on_vfio(lab: Lab, roles: Collection[Role]) -> Iterator[Lab]:
    """The lab with the NICs of these roles bound to vfio-pci, for the time of the context. Raises EnvironmentBroken."""
    from labkit.lab.nic_lab import bound_to_vfio

    def bound(port: LivePort) -> LivePort:
        return replace(port, interface=None, pci=addresses[port.port.name]) if port.role in roles else port

    with bound_to_vfio({role: lab.machines[role] for role in roles}) as addresses:
        yield replace(
            lab,
            tester_ports=tuple(map(bound, lab.tester_ports)),
            dut_ports=tuple(map(bound, lab.dut_ports)),
        )


def take_down(record: LabRecord, *, get: Callable[[str], Machine], force: bool) -> list[Undone]:
    """Take a lab on NICs down on its machines elsewhere, to which `get` connects. What it changed here is for `down`.

    Unless forced, only where nobody measures.
    """
    from labkit.lab import nic_lab

    return nic_lab.take_down(record, get, force=force)


def attach(record: LabRecord) -> Lab:
    """A lab on this machine that is up, as it is found now. Raises EnvironmentBroken if one of its processes ended."""
    if not record.alive:
        raise EnvironmentBroken(
            f"the lab {record.topology.name} is no longer up: a process that held its namespaces has ended",
            hint=fix.labkit("down"),
        )
    tester, dut = record.host("tester"), record.host("dut")
    privileges = join_user_namespace(tester.pid) if record.rootless else ensure_privileges()
    return _live(
        record.topology, choose(record.topology), tester, dut, privileges, hugepages=record.hugepages
    )


def _prepare(topology: Topology) -> tuple[Cores, Privileges]:
    if topology.tier is Tier.SIMULATED:
        raise ConfigInvalid(
            f"{topology.source}: a simulated lab cannot be brought up",
            hint="labkit run measures it without a lab",
        )
    return choose(topology), ensure_privileges()


def _new_id(topology: Topology) -> str:
    return f"{topology.name}-{uuid.uuid4().hex[:8]}"


def _hugepages(topology: Topology, privileges: Privileges, journal: Journal, lab: str) -> bool:
    """Whether the lab's memory is in hugepages. Changes left by killed controllers are reverted first."""
    if not any(link.hugepages for link in topology.links):
        return False
    down(abandoned=True, journal=journal)
    need = sum(link.memory_bytes for link in topology.links)
    return hugepages.grant(need, privileges=privileges, journal=journal, lab=lab)


def _revert(lab: str, journal: Journal) -> None:
    left = [undone.left for undone in down(lab=lab, journal=journal, force=True) if undone.left]
    if left:
        raise EnvironmentBroken("; ".join(left), hint=fix.labkit("down"))


def _holders(topology: Topology, stack: ExitStack, *, detached: bool) -> dict[Role, NamespaceHolder]:
    """One namespace a role; ends of a shared-memory link meet in one."""

    def start(name: str) -> NamespaceHolder:
        holder = start_holder(name, detached=detached)
        stack.callback(holder.end)
        return holder

    if topology.links[0].kind is LinkKind.VETH:
        return {"tester": start("tester"), "dut": start("dut")}
    both = start("lab")
    return {"tester": both, "dut": both}


def _wire(
    topology: Topology,
    cores: Cores,
    holders: Mapping[Role, NamespaceHolder],
    privileges: Privileges,
    *,
    hugepages: bool,
    progress: ReportLine | None,
) -> Lab:
    say = progress or (lambda _: None)
    tester, dut = holders["tester"].host, holders["dut"].host
    refused: dict[str, str] = {}
    if topology.links[0].kind is LinkKind.VETH:
        from labkit.lab.links import napi, veth  # pyroute2 takes long to import

        say("links")
        veth.wire(topology.links, tester, dut, traffic=topology.traffic)
        for link in topology.links:
            for host, port, core in ((tester, link.tester, cores.tester), (dut, link.dut, cores.dut)):
                why = napi.place(host, port.name, link.napi, core)
                refused.update({port.name: why} if why else {})
    lab = _live(topology, cores, tester, dut, privileges, hugepages=hugepages, refused=refused)
    say("up")
    return lab


def _live(
    topology: Topology,
    cores: Cores,
    tester: NamespaceHost,
    dut: NamespaceHost,
    privileges: Privileges,
    *,
    hugepages: bool,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> Lab:
    """The lab as it is found in these namespaces."""

    def ends(role: Role, host: NamespaceHost) -> tuple[LivePort, ...]:
        return tuple(_port(role, host, link, number) for number, link in enumerate(topology.links))

    tester_ports, dut_ports = ends("tester", tester), ends("dut", dut)
    ports: dict[str, object] = {}
    if topology.links[0].kind is LinkKind.VETH:
        from labkit.lab.links import napi, veth

        for live, host in [(port, tester) for port in tester_ports] + [(port, dut) for port in dut_ports]:
            name = live.port.name
            placed = {
                "asked": str(live.link.napi),
                **napi.read_back(host, name),
                "refused": refused.get(name),
            }
            ports[name] = {**veth.read_back(host, live.port), "napi": placed}
    return Lab(
        topology=topology,
        cores=cores,
        tester_ports=tester_ports,
        dut_ports=dut_ports,
        facts={"ports": ports, "hugepages": hugepages, "privileges": privileges.why},
    )


def _on_nics(topology: Topology, found: Wired) -> Lab:
    """The lab on these machines."""

    def ends(role: Role) -> tuple[LivePort, ...]:
        pairs = [(link, *link.ends(role)) for link in found.links]
        host = found.machines[role].host
        return tuple(
            LivePort(role=role, port=port, peer=peer, link=link, host=host, interface=port.interface)
            for link, port, peer in pairs
        )

    hosts = {role: machine.name for role, machine in found.machines.items()}
    return Lab(
        topology=topology,
        cores=found.cores,
        tester_ports=ends("tester"),
        dut_ports=ends("dut"),
        facts={"ports": found.ports, "hugepages": False, "privileges": "root", "hosts": hosts},
        machines=found.machines,
    )


def _port(role: Role, host: NamespaceHost, link: Link, number: int) -> LivePort:
    port, peer = link.ends(role)
    is_veth = link.kind is LinkKind.VETH
    return LivePort(
        role=role,
        port=port,
        peer=peer,
        link=link,
        host=host,
        interface=port.name if is_veth else None,
        vdev=None if is_veth else shared_memory.vdev(link, role, number),
    )
