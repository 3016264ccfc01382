"""The ends of a lab's links that are on this machine: set up, bound to vfio-pci for DPDK, reverted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import EnvironmentBroken, LabkitBug
from labkit.lab.topology import Link, Port, Role, Topology
from labkit.machine import fix, hugepages
from labkit.machine.journal import Journal, this_boot
from labkit.machine.privilege import ensure_privileges
from labkit.machine.tunables import turn
from labkit.machine.undo import down

if TYPE_CHECKING:
    from labkit.lab.links.nic import Ports


@dataclass(frozen=True, slots=True)
class Ends:
    """A role's ends."""

    links: tuple[Link, ...]
    """With the interfaces and MAC addresses that were found."""
    ports: tuple[Port, ...]
    forwards: bool
    """The kernel forwards between them."""
    tagged: bool | None
    """Frames have VLAN tags; None: they may."""


class LabHere:
    """A lab's ends here; none at first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lab: str | None = None
        self._stays = False
        """It was up before, and is when this ends."""
        self._ends: dict[Role, Ends] = {}
        self._on_vfio: set[Role] = set()
        """Roles whose ports vfio-pci has."""

    @property
    def lab(self) -> str:
        """Its id."""
        if self._lab is None:
            raise LabkitBug("there is no lab on these ports")
        return self._lab

    def ports(self, role: Role) -> tuple[Port, ...]:
        """A role's ports, as they were found."""
        return self._ends[role].ports

    def is_on_vfio(self, role: Role) -> bool:
        """Whether vfio-pci has them."""
        return role in self._on_vfio

    def to_kernel(self, ports: Iterable[Port], *, lab: str) -> None:
        """Have the kernel drive those that are bound to vfio-pci, for the time of the lab. Raises EnvironmentBroken."""
        self._lab, self._stays = lab, False
        self._to_kernel(ports)

    def _to_kernel(self, ports: Iterable[Port]) -> None:
        from labkit.machine.pci_driver import is_on_vfio, to_kernel

        for port in ports:
            if port.pci and is_on_vfio(port.pci):
                to_kernel(port.pci, journal=self._journal, lab=self.lab)

    def wire(self, role: Role, topology: Topology, ports: Ports, *, lab: str) -> None:
        """Set a role's ends up. Raises as `links.nic.wire`."""
        self._lab, self._stays = lab, False
        self._ends[role] = _ends(role, topology, ports)
        self._wire(role)

    def attach(self, role: Role, topology: Topology, ports: Ports, *, lab: str) -> bool:
        """Use a role's ends of a lab that is up, which stays. Returns whether it is."""
        self._lab, self._stays = lab, True
        self._ends[role] = _ends(role, topology, ports)
        return any(entry.lab == lab and this_boot(entry) for entry in self._journal.read().entries)

    def bind_vfio(self, roles: Sequence[Role], *, memory_bytes: int) -> dict[str, str]:
        """Bind the ports of these roles to vfio-pci, until `unbind_vfio`, with so much memory in hugepages.

        Returns the PCI address of each port, by name. First the ports become as they were before the lab: that is what
        they get back in the end. Raises EnvironmentBroken where one can't be bound; then the lab is as it was.
        """
        from labkit.machine.pci_driver import VFIO, PciDriverTunable, check

        ports = [port for role in roles for port in self.ports(role)]
        addresses = {port.name: port.pci for port in ports}
        if lacking := [port.interface for port in ports if not port.pci]:
            raise EnvironmentBroken(
                f"{', '.join(lacking)}: no NIC on a PCI bus, so it cannot be bound to {VFIO}",
                hint="its other modes run on any interface",
            )
        self._unwire()
        self._on_vfio.update(roles)
        try:
            for pci in addresses.values():
                check(pci, together=addresses.values())
            for pci in addresses.values():
                turn(PciDriverTunable.of(pci), VFIO, journal=self._journal, lab=self.lab)
            if not hugepages.grant(
                memory_bytes, privileges=ensure_privileges(), journal=self._journal, lab=self.lab
            ):
                raise EnvironmentBroken(
                    "there are no hugepages on this kernel, and DPDK needs them for a NIC"
                )
            self._wire_others()
        except BaseException:
            self.unbind_vfio()
            raise
        return addresses

    def unbind_vfio(self) -> None:
        """Give the ports back to the kernel, and set them up again."""
        self._unwire()
        self._on_vfio.clear()
        self._wire_others()

    def leave(self) -> None:
        """The lab stays up."""
        self._forget()

    def revert(self) -> None:
        """Undo what was changed for the lab; of one that stays only what `bind_vfio` did. Raises EnvironmentBroken."""
        if self._lab is None:
            return
        try:
            if not self._stays:
                self._unwire(stays=False)
            elif self._on_vfio:
                self.unbind_vfio()
        finally:
            self._forget()

    def _forget(self) -> None:
        self._lab, self._stays = None, False
        self._ends.clear()
        self._on_vfio.clear()

    def _wire(self, role: Role) -> None:
        from labkit.lab.links import nic

        ends = self._ends[role]
        self._to_kernel(ends.ports)
        nic.wire(
            role,
            ends.links,
            forwards=ends.forwards,
            tagged=ends.tagged,
            journal=self._journal,
            lab=self.lab,
        )

    def _wire_others(self) -> None:
        for role in self._ends:
            if role not in self._on_vfio:
                self._wire(role)

    def _unwire(self, *, stays: bool = True) -> None:
        standing = [self.lab] if stays else []
        undone = down(lab=self.lab, journal=self._journal, force=True, standing=standing)
        if left := [one.left for one in undone if one.left]:
            raise EnvironmentBroken("; ".join(left), hint=fix.labkit("down"))


def _ends(role: Role, topology: Topology, ports: Mapping[Role, Sequence[Mapping[str, Any]]]) -> Ends:
    from labkit.lab.links import nic

    links = nic.with_ports(topology.links, ports)
    forwards = role == "dut" and topology.forwards and "kernel" in topology.backends
    traffic = topology.traffic
    # What is in a capture, its file says, which may be on another machine.
    tagged = True if traffic.vlans else None if traffic.pcap is not None else False
    return Ends(links, tuple(link.ends(role)[0] for link in links), forwards, tagged)
