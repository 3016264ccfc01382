"""Labs that stay up without their controller: their records in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.lab.topology import ROLES, LinkKind, Port, Role, Topology
from labkit.lab.topology_file import parse
from labkit.machine.hosts import NamespaceHost
from labkit.machine.journal import Journal
from labkit.machine.privilege import state_directory
from labkit.machine.process import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRecord:
    """A lab that `labkit up` brought up."""

    id: str
    topology: Topology
    since: str
    """UTC, ISO 8601."""
    holders: Mapping[Role, Identity]
    """Processes that hold the namespaces; both roles may be in one. None of a lab on NICs."""
    hugepages: bool
    rootless: bool
    inventories: tuple[str, ...] = ()
    """By which the hosts of a lab on NICs are reached."""
    controller: str = ""
    """Who brought it up from elsewhere, where this machine is only one of its hosts."""

    @property
    def alive(self) -> bool:
        """Whether all of its namespaces are still held. Of a lab on NICs each host knows for itself."""
        return all(identity.alive for identity in self.holders.values())

    @property
    def interfaces(self) -> dict[Role, tuple[str, ...]]:
        """Interfaces (veth, NICs as the file names them) or ports (shared memory) by role."""

        def name(port: Port) -> str:
            return (port.interface or port.mac or port.pci) if self.on_nics else port.name

        links = self.topology.links
        return {
            "tester": tuple(name(link.tester) for link in links),
            "dut": tuple(name(link.dut) for link in links),
        }

    @property
    def on_nics(self) -> bool:
        """Whether its links are between interfaces that were there before."""
        return self.topology.links[0].kind is LinkKind.NIC

    @property
    def enter(self) -> dict[Role, list[str]]:
        """The command that opens a shell in the namespace of each role."""
        found: dict[Role, list[str]] = {}
        for role, holder in self.holders.items():
            user = [f"--user=/proc/{holder.pid}/ns/user", "--preserve-credentials"] if self.rootless else []
            program, *namespaces, _ = self.host(role).enter()
            found[role] = [program, *user, *namespaces, "sh"]
        return found

    def host(self, role: Role) -> NamespaceHost:
        """Where a role's programs run."""
        return NamespaceHost(role, self.holders[role].pid)

    def to_json(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            "source": str(self.topology.source.absolute()),
            "text": self.topology.text,
            "since": self.since,
            "holders": {role: [one.pid, one.start_ticks] for role, one in self.holders.items()},
            "hugepages": self.hugepages,
            "rootless": self.rootless,
            "inventories": list(self.inventories),
            "controller": self.controller,
        }


def _from_json(lab: str, data: Mapping[str, Any]) -> LabRecord:
    holders: dict[Role, Identity] = {}
    for role in ROLES:
        if role in data["holders"]:
            pid, start_ticks = data["holders"][role]
            holders[role] = Identity(pid, start_ticks)
    return LabRecord(
        id=lab,
        topology=parse(data["text"], Path(data["source"]), alone=True),
        since=data["since"],
        holders=holders,
        hugepages=data["hugepages"],
        rootless=data["rootless"],
        inventories=tuple(data.get("inventories", ())),
        controller=data.get("controller", ""),
    )


def status(journal: Journal | None = None) -> list[LabRecord]:
    """The labs that `labkit up` brought up, dead ones included, in that order."""
    journal = journal or Journal(state_directory())
    return [_from_json(lab, data) for lab, data in journal.read().labs.items()]
