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

from labkit.measure.frame_size import IMIX, OWN_IMIX, SMALLEST_BYTES

Protocol: TypeAlias = Literal["udp", "tcp", "icmp"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("udp", "tcp", "icmp")
_MORE_BYTES: Final[dict[Protocol, int]] = {"udp": 0, "tcp": 12, "icmp": 0}
"""Of the protocol's header, beside UDP's 8."""
_TAG_BYTES: Final = 4

FieldName: TypeAlias = Literal["source_ip", "destination_ip", "source_port", "destination_port"]
ADDRESSES: Final[tuple[FieldName, ...]] = ("source_ip", "destination_ip")
PORTS: Final[tuple[FieldName, ...]] = ("source_port", "destination_port")
FIELDS: Final[tuple[FieldName, ...]] = ADDRESSES + PORTS

FLOWS_MAX: Final = 32768
SHUFFLED_MAX: Final = 8192
"""Values of a shuffled field: the probe is given each of them."""
_MORE: Final = ": "
"""Between the name of what frames are, and all of it."""
_CAPTURED: Final = "frames of "


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
    line: int = 0
    """Of the key in the file."""

    @property
    def flows(self) -> int:
        """Different frames of one size: fields go on by one value each from frame to frame."""
        return lcm(*(one.count for one in self.fields))

    def smallest_bytes(self, ip_version: int) -> int:
        """The smallest frame with room for a signature [bytes with FCS]."""
        return SMALLEST_BYTES[ip_version] + _MORE_BYTES[self.protocol] + _TAG_BYTES * len(self.vlans)

    def sizes_of_mix(self, ip_version: int) -> tuple[tuple[int, int], ...]:
        """(frame size, weight) of what is sent as "imix": sizes that the headers don't fit in are larger."""
        least = self.smallest_bytes(ip_version)
        return tuple((max(size, least), share) for size, share in self.mix or OWN_IMIX)

    @property
    def headers(self) -> str:
        """Such as "TCP, QinQ 100/200"."""
        tags = "/".join(map(str, self.vlans))
        kind = "QinQ" if len(self.vlans) == 2 else "VLAN"
        return ", ".join([self.protocol.upper(), *([f"{kind} {tags}"] if tags else [])])

    def words(self, frame: str, ip_version: int = 4) -> str:
        """What frames of a size are, for the key of a row; empty for labkit's own. `shortened` is for its name."""
        if self.pcap is not None:
            known = f" (sha256 {self.pcap_sha256[:8]})" if self.pcap_sha256 else ""
            return f"{_CAPTURED}{self.pcap.name}{known}"
        mixed = bool(self.mix) and frame == IMIX
        parts = [
            self.headers.removeprefix("UDP").removeprefix(", "),
            f"mix {self.mix_name}" if mixed else "",
            f"{self.flows} flows" if self.fields else "",
        ]
        name = ", ".join(part for part in parts if part)
        more = [one.words for one in self.fields]
        if mixed:
            more.append(f"imix is {mix_words(self.sizes_of_mix(ip_version))}")
        return f"{name}{_MORE}{', '.join(more)}" if more else name


def mix_words(sizes: Iterable[tuple[int, int]]) -> str:
    """Such as "28 of 64 B, 16 of 570 B"."""
    return ", ".join(f"{share} of {size} B" for size, share in sizes)


def shortened(words: str) -> tuple[str, str]:
    """What stands in the name of a row, and the rest: empty where that is all."""
    if words.startswith(_CAPTURED):
        return words, ""
    name, _, more = words.partition(_MORE)
    return name, more


UDP: Final = Traffic()
"""Where a lab's file names none."""
