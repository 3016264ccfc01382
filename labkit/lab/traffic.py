"""How a lab's frames look beside their size: protocol, VLAN tags, fields that differ, a mix, or a capture.

Written in the key `traffic` of a topology file, which `lab.traffic_file` reads; both testers send the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from math import lcm
from pathlib import Path
from typing import Final, Literal, TypeAlias

from labkit import format as fmt

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

    @property
    def words(self) -> str:
        """Such as "16 source IP addresses", "8 destination ports from 1000 on shuffled by seed 7"."""
        kind, _, what = self.name.partition("_")
        plural = "IP addresses" if what == "ip" else "ports"
        start = "" if self.first is None else f" from {self.first} on"
        order = "" if self.seed is None else f" shuffled by seed {self.seed}"
        return f"{self.count} {kind} {plural}{start}{order}"


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
    """Of the file as it was when the lab's file was read; empty: it was not there any more."""

    @property
    def flows(self) -> int:
        """Different frames of one size: fields go on by one value each from frame to frame."""
        return lcm(*(one.count for one in self.fields))

    @property
    def headers(self) -> str:
        """Such as "TCP, QinQ 100/200"."""
        tags = "/".join(map(str, self.vlans))
        kind = "QinQ" if len(self.vlans) == 2 else "VLAN"
        return ", ".join([self.protocol.upper(), *([f"{kind} {tags}"] if tags else [])])

    def words(self, mix: Iterable[tuple[int, int]] = ()) -> str:
        """What its frames are, for the key of a row; empty for labkit's own. `format.traffic` is for a row's name.

        `mix`: (frame size, weight) of what is sent, where it is the mix.
        """
        if self.pcap is not None:
            known = f" (sha256 {self.pcap_sha256[:8]})" if self.pcap_sha256 else ""
            return f"{fmt.CAPTURED}{self.pcap.name}{known}"
        sizes = tuple(mix)
        parts = [
            self.headers.removeprefix("UDP").removeprefix(", "),
            f"mix {self.mix_name}" if sizes else "",
            f"{self.flows} flows" if self.fields else "",
        ]
        name = ", ".join(part for part in parts if part)
        more = [*(one.words for one in self.fields), *([f"imix is {fmt.mix(sizes)}"] if sizes else [])]
        return f"{name}{fmt.MORE_OF_TRAFFIC}{', '.join(more)}" if more else name


TCP_ECHO, TCP_STREAM = "tcp", "tcp_stream"
GRO = "gro"
"""Modes of a backend with TCP connections: messages are sent back, or only taken in."""
UDP: Final = Traffic()
"""Where a lab's file names none."""
