"""A lab as it is written: links, ports and cores as types. `lab.topology_file` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Final, Literal

from labkit.lab.commands import Command
from labkit.lab.onload import OnloadSettings
from labkit.lab.simulation import SimulatedSpec
from labkit.lab.traffic import UDP, Traffic

Role = Literal["tester", "dut"]
ROLES: Final[tuple[Role, ...]] = ("tester", "dut")

HERE: Final = "here"
"""The machine that labkit runs on, as a topology names it."""


class Tier(StrEnum):
    """The kind of lab: decides which figures can be compared."""

    SIMULATED = "simulated"
    """No packet is sent: a model of a DUT, for trying labkit and testing it."""
    SOFTWARE = "software"
    VM = "vm"
    HARDWARE = "hardware"


class LinkKind(StrEnum):
    """How two ports are wired."""

    VETH = "veth"
    VHOST = "vhost"
    MEMIF = "memif"
    NIC = "nic"
    """Interfaces that are there already, on one machine or on two, with a cable (or an emulator) between them."""
    SIM = "sim"
    """No wire: the link of a simulated lab."""

    @property
    def has_interfaces(self) -> bool:
        """Whether its ends are network interfaces of a kernel."""
        return self in (LinkKind.VETH, LinkKind.NIC)


class Napi(StrEnum):
    """On whose core the receiving end of a veth link works.

    By default it is the sender's: the receive path runs in softirq on the core that sent the frame.
    """

    SOFTIRQ = "softirq"
    """As the kernel does by itself: on the sender's core."""
    RPS = "rps"
    """Receive packet steering hands frames to the receiver's core (the stack's part; XDP stays with the sender)."""
    THREADED = "threaded"
    """The link's NAPI has a kernel thread each, pinned to the receiver's core."""


DEFAULT_NAPI: Final = Napi.SOFTIRQ


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One end of a link."""

    name: str
    """Interface name (at most 15 characters) or the name of a port on shared memory, or of a NIC."""
    mac: str
    """On a NIC: empty until it is found, unless the file names the NIC by it."""
    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    interface: str = ""
    """A NIC's interface; empty where the file names it otherwise."""
    pci: str = ""
    """A NIC's PCI address in its long form (0000:01:00.0); empty where the file names it otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A wire between the tester and the DUT."""

    name: str
    kind: LinkKind
    mtu_bytes: int
    tester: Port
    dut: Port
    ring_frames: int
    """Descriptors per ring of a shared-memory link (0 on veth)."""
    hugepages: bool
    """Whether the link's memory is asked for in hugepages (shared-memory links)."""
    memory_bytes: int = 0
    """Memory that both ends together may take: so many bytes of hugepages must be free (0 on veth)."""
    napi: Napi = Napi.SOFTIRQ
    """veth only."""

    def ends(self, role: Role) -> tuple[Port, Port]:
        """The role's port, and its peer."""
        return (self.tester, self.dut) if role == "tester" else (self.dut, self.tester)


PROBE: Final = "probe"
"""As a tester: labkit's own, with the fastest engine that can run."""
TESTERS: Final = (PROBE, "xdp", "af_xdp", "af_packet", "dpdk", "trex")
"""What generates on network interfaces: the probe, its engines of these names (dpdk on NICs, xdp on veth), TRex."""
TESTER_SIGN: Final = "+"
"""Between the name of a lab and that of a further tester that measures on it. In no name of a file."""


def split_name(name: str) -> tuple[str, str]:
    """A topology's name in its file, and which further tester of a run measures on it: empty for the first one."""
    lab, _, tester = name.partition(TESTER_SIGN)
    return lab, tester


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A lab, as written."""

    name: str
    description: str
    tier: Tier
    tester_core: int | None
    """None: chosen when the lab comes up."""
    dut_core: int | None
    links: tuple[Link, ...]
    """One link: the DUT reflects. Two: it forwards from the first to the second."""
    backends: tuple[str, ...]
    """Backends that the suite measures on it."""
    tester: str | None = None
    """One of TESTERS, unless the user chooses another; None: the fastest that can run."""
    tester_option: str = ""
    """What chose it in a run of several testers, as the user spelt it; empty: the file did."""
    targets: tuple[Path, ...]
    source: Path
    sha256: str
    """Of the file as read."""
    text: str = field(default="", repr=False)
    """The file as read: a lab that is up keeps it, even if the file changes."""
    core_lines: Mapping[str, int] = field(default_factory=dict, repr=False)
    """Line of each role's core in the file: whether the core exists is only known on the machine."""
    hosts: Mapping[Role, str] = field(default_factory=lambda: {"tester": HERE, "dut": HERE})
    """Where each role is: HERE, or a host that is reached by SSH."""
    host_lines: Mapping[Role, int] = field(default_factory=dict, repr=False)
    """Line of each host in the file: whether it can be reached is only known later."""
    inventories: tuple[Path, ...] = ()
    """Ansible inventories that say how its hosts are reached, unless the user chooses others; none: as ssh has them."""
    inventory_line: int = field(default=0, repr=False)
    """Line of these in the file: whether they are there is only known later."""
    traffic: Traffic = UDP
    """What the tester's frames look like, beside their size."""
    commands: tuple[Command, ...] = ()
    """Programs that the backend command runs as the DUT."""
    onload: OnloadSettings = field(default_factory=OnloadSettings)
    """How programs run under Onload."""
    simulation: Mapping[str, SimulatedSpec] = field(default_factory=dict)
    """By backend, what a simulated lab simulates; empty on a real one."""

    def measured_by(self, testers: Sequence[str], *, option: str) -> tuple[Topology, ...]:
        """The lab once for each tester of a run: under its own name for the first, with the tester's for the others.

        A simulated lab has one of its own; on shared memory all engines of the probe are DPDK.
        """
        if not self.links[0].kind.has_interfaces:
            testers = tuple(dict.fromkeys(one if one == "trex" else PROBE for one in testers))
        if len(testers) < 2 or self.tier is Tier.SIMULATED:
            return (self,)
        return tuple(
            replace(
                self,
                name=self.name if tester == testers[0] else f"{self.name}{TESTER_SIGN}{tester}",
                tester=tester,
                tester_option=f"{option} {tester}",
            )
            for tester in testers
        )

    def measured_as(self, other: Topology) -> Topology:
        """The lab with the tester that measures on another one in a run of several; else as it is."""
        if not other.tester_option:
            return self
        tester = split_name(other.name)[1]
        name = f"{self.name}{TESTER_SIGN}{tester}" if tester else self.name
        return replace(self, name=name, tester=other.tester, tester_option=other.tester_option)

    @property
    def mtu_bytes(self) -> int:
        """The largest MTU of its links."""
        return max(link.mtu_bytes for link in self.links)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Its hosts other than this machine."""
        return tuple(name for name in dict.fromkeys(self.hosts.values()) if name != HERE)

    @property
    def spans_hosts(self) -> bool:
        """Whether tester and DUT are on machines of their own, each with cores and readings of its own."""
        return self.hosts["tester"] != self.hosts["dut"]

    @property
    def forwards(self) -> bool:
        """Whether the DUT forwards between two ports (else it reflects on one)."""
        return len(self.links) == 2


NO_PORT: Final = Port(name="none", mac="02:00:00:00:00:00", ipv4=None, ipv6=None)
NO_WIRE: Final = Link(
    name="sim",
    kind=LinkKind.SIM,
    mtu_bytes=9000,
    tester=NO_PORT,
    dut=NO_PORT,
    ring_frames=0,
    hugepages=False,
)
"""The link of a simulated lab."""
