"""The lab file: hosts, links, ports and cores. (Types; reading and its errors follow below.)"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path


class Tier(StrEnum):
    """What the figures of a lab can be compared with."""

    SOFTWARE = "software"
    VM = "vm"
    HARDWARE = "hardware"


class LinkKind(StrEnum):
    """How two ports are wired."""

    VETH = "veth"
    VHOST = "vhost"
    MEMIF = "memif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One end of a link."""

    name: str
    """Interface name (at most 15 characters) or the name of a shared-memory port."""
    mac: str
    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None


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
    targets: tuple[Path, ...]
    source: Path
    sha256: str
    """Of the file as read."""

    @property
    def forwards(self) -> bool:
        """Whether the DUT forwards between two ports (else it reflects on one)."""
        return len(self.links) == 2
