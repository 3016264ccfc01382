"""How a lab's frames look beside their size: protocol, VLAN tags, fields that differ, a mix, or a capture.

Written in the key `traffic` of a topology file, which `lab.traffic_file` reads; both testers send the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from math import lcm
from pathlib import Path
from typing import Final, Literal, TypeAlias

Protocol: TypeAlias = Literal["udp", "tcp", "icmp"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("udp", "tcp", "icmp")

FieldName: TypeAlias = Literal["source_ip", "destination_ip", "source_port", "destination_port"]
ADDRESSES: Final[tuple[FieldName, ...]] = ("source_ip", "destination_ip")
PORTS: Final[tuple[FieldName, ...]] = ("source_port", "destination_port")
FIELDS: Final[tuple[FieldName, ...]] = ADDRESSES + PORTS

FLOWS_MAX: Final = 32768
SHUFFLED_MAX: Final = 8192
"""Values of a shuffled field: the probe is given each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRange:
    """A field of the headers that takes `count` values in turn, one a frame."""

    name: FieldName
    count: int
    first: IPv4Address | IPv6Address | int | None = None
    """None: the lab's own address or port."""
    seed: int | None = None
    """Of the values' order; None: they count up."""
    line: int = 0
    """In the file."""

    @property
    def words(self) -> str:
        """Such as "16 source IPs", "8 destination ports shuffled by seed 7"."""
        kind, _, what = self.name.partition("_")
        plural = "IP addresses" if what == "ip" else "ports"
        return f"{self.count} {kind} {plural}" + (
            "" if self.seed is None else f" shuffled by seed {self.seed}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the tester of a lab sends."""

    protocol: Protocol = "udp"
    vlans: tuple[int, ...] = ()
    """VLAN ids, the outer one first: one tag of 802.1Q, or one of 802.1ad and one of 802.1Q in it (QinQ)."""
    fields: tuple[FieldRange, ...] = ()
    mix: tuple[tuple[int, int], ...] = ()
    """(frame size, weight) of what the size "imix" stands for; empty: labkit's own mix."""
    mix_name: str = ""
    pcap: Path | None = None
    """A capture with the frames; all else is as it has it."""
    pcap_sha256: str = ""
    line: int = 0
    """Of the key in the file."""

    @property
    def is_plain(self) -> bool:
        """Whether it is UDP without tags, of the lab's own addresses and ports."""
        return self.protocol == "udp" and not self.vlans and not self.fields and self.pcap is None

    @property
    def flows(self) -> int:
        """Different frames of one size: fields go on by one value each from frame to frame."""
        return lcm(*(one.count for one in self.fields))

    @property
    def headers(self) -> str:
        """Such as "TCP, QinQ 100/200"."""
        tags = "/".join(map(str, self.vlans))
        return ", ".join(
            [
                self.protocol.upper(),
                *([f"{'QinQ' if len(self.vlans) == 2 else 'VLAN'} {tags}"] if tags else []),
            ]
        )

    @property
    def words(self) -> str:
        """All of it, what goes into a row's name before ": "; empty for labkit's own frames."""
        if self.pcap is not None:
            return f"frames of {self.pcap.name}" + (
                f" (sha256 {self.pcap_sha256[:8]})" if self.pcap_sha256 else ""
            )
        parts = [
            self.headers.removeprefix("UDP").removeprefix(", "),
            f"mix {self.mix_name}" if self.mix else "",
            f"{self.flows} flows" if self.fields else "",
        ]
        name = ", ".join(part for part in parts if part)
        more = [one.words for one in self.fields]
        if self.mix:
            more.append("imix is " + ", ".join(f"{share} of {size} B" for size, share in self.mix))
        return f"{name}: {', '.join(more)}" if more else name


UDP: Final = Traffic()
"""Where a lab's file names none."""
