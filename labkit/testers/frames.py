"""The frames that a tester sends: their specification, and the templates that the probe stamps and sends.

The only place that imports scapy (GPL-2.0, and slow to import), and only when frames are built or read.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from labkit.errors import ConfigInvalid
from labkit.lab.traffic import FLOWS_MAX, UDP, FieldName, FieldRange, Protocol, Traffic
from labkit.measure import frame_size
from labkit.measure.frame_size import FCS_BYTES, IMIX, OWN_IMIX, PCAP
from labkit.testers.capture import Captured, ip_header, read

FRAME_OVER_MTU_BYTES = 14 + FCS_BYTES
"""What a frame has beyond the MTU: the Ethernet header and the FCS."""

_IMIX_SEED = 2544

_ETHERNET_BYTES, _TAG_BYTES = 14, 4
_IP_BYTES = {4: 20, 6: 40}
_L4_BYTES: dict[Protocol, int] = {"udp": 8, "tcp": 20, "icmp": 8}
_CHECKSUM_AT: dict[Protocol, int] = {"udp": 6, "tcp": 16, "icmp": 2}
"""In the header of each protocol."""
_IDENTIFIER_AT = 4
"""Of an ICMP echo: what flows differ in, as by the source port elsewhere."""


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """Which frames a trial sends."""

    size: int | Literal["imix", "pcap"] = 64
    """Frame size with FCS [bytes], "imix", or "pcap" on a lab whose traffic is a capture."""
    ip_version: Literal[4, 6] = 4
    flows: int = 1
    """Flows that the frames take turns in; they differ in their source port, or the identifier of ICMP."""

    def __post_init__(self) -> None:
        if self.ip_version not in (4, 6):
            raise ConfigInvalid(f"IP version {self.ip_version!r}: expected 4 or 6")
        frame_size.check(self.size, ip_version=self.ip_version)
        if not 1 <= self.flows <= FLOWS_MAX:
            raise ConfigInvalid(f"{self.flows} flows: expected 1 to {FLOWS_MAX}")

    def check(self, traffic: Traffic) -> None:
        """Raise ConfigInvalid where a lab of this traffic does not send such frames."""
        if traffic.pcap is not None:
            self._check_capture(traffic.pcap, _captured(traffic))
            return
        if self.size == PCAP:
            raise ConfigInvalid(
                "frame size pcap: the lab's traffic is no capture", hint="name it: traffic: {pcap: FILE}"
            )
        if traffic.fields and self.flows != 1:
            raise ConfigInvalid(
                f"{self.flows} flows: the lab's traffic has fields of its own that differ "
                f"({', '.join(one.words for one in traffic.fields)})",
                hint="leave the number of flows out",
            )
        least = smallest_bytes(self.ip_version, traffic)
        if isinstance(self.size, int) and self.size < least:
            raise ConfigInvalid(
                f"frame size {self.size}: expected at least {least} bytes with FCS for {traffic.headers} over "
                f"IPv{self.ip_version}",
                hint=f"frames of {least} bytes or more",
            )
        for one in traffic.fields:
            if (
                one.first is not None
                and not isinstance(one.first, int)
                and one.first.version != self.ip_version
            ):
                raise ConfigInvalid(
                    f"IPv{self.ip_version}: the lab's traffic has a {one.name} of IPv{one.first.version}",
                    hint=f"measure IPv{one.first.version}, or leave first: out",
                )

    def _check_capture(self, path: Path, frames: Sequence[Captured]) -> None:
        if self.size != PCAP:
            raise ConfigInvalid(
                f"frame size {self.size}: the lab sends the frames of {path}", hint="frame size pcap, or none"
            )
        if self.flows != 1:
            raise ConfigInvalid(
                f"{self.flows} flows: the lab sends the frames of {path}",
                hint="leave the number of flows out",
            )
        only6 = all(ip_header(one.data)[1] == 6 for one in frames)
        if (self.ip_version == 6) != only6:
            raise ConfigInvalid(
                f"IPv{self.ip_version}: the frames of {path} are {'all' if only6 else 'not all'} of IPv6",
                hint="measure IPv6 (--ipv6)" if only6 else "leave IPv6 (--ipv6) out",
            )

    def sizes(self, traffic: Traffic = UDP) -> tuple[int, ...]:
        """The sizes of its templates [bytes with FCS]."""
        if self.size == PCAP:
            return tuple(len(one.data) + FCS_BYTES for one in _captured(traffic))
        if self.size == "imix":
            return tuple(size for size, _ in sizes_of_mix(self.ip_version, traffic))
        return (int(self.size),)

    def order(self, traffic: Traffic = UDP) -> tuple[int, ...]:
        """Index of the template, frame by frame, to be repeated. A mix is shuffled, always in the same way."""
        if self.size == PCAP:
            return tuple(range(len(_captured(traffic))))
        if self.size != "imix":
            return (0,)
        order = [index for index, (_, share) in enumerate(traffic.mix or OWN_IMIX) for _ in range(share)]
        random.Random(_IMIX_SEED).shuffle(order)  # noqa: S311 (a fixed order, no secret)
        return tuple(order)


def most_tags(traffic: Traffic) -> int:
    """VLAN tags of the frame that has most. Raises ConfigInvalid for a capture that can't be read."""
    captured = ((ip_header(one.data)[0] - _ETHERNET_BYTES) // _TAG_BYTES for one in _captured(traffic))
    return max((len(traffic.vlans), *captured))


def _captured(traffic: Traffic) -> tuple[Captured, ...]:
    return read(traffic.pcap, traffic.pcap_sha256) if traffic.pcap is not None else ()


def smallest_bytes(ip_version: int, traffic: Traffic) -> int:
    """The smallest frame with room for a signature [bytes with FCS]."""
    more = _L4_BYTES[traffic.protocol] - _L4_BYTES["udp"] + _TAG_BYTES * len(traffic.vlans)
    return frame_size.SMALLEST_BYTES[ip_version] + more


def sizes_of_mix(ip_version: int, traffic: Traffic) -> tuple[tuple[int, int], ...]:
    """(frame size, weight) of what is sent as "imix": sizes that the headers don't fit in are larger."""
    least = smallest_bytes(ip_version, traffic)
    return tuple((max(size, least), share) for size, share in traffic.mix or OWN_IMIX)


def words_of(traffic: Traffic, frame: str, ip_version: int) -> str:
    """What the frames of a size are, for the key of a row."""
    return traffic.words(sizes_of_mix(ip_version, traffic) if traffic.mix and frame == IMIX else ())


def default_size(traffic: Traffic, ip_version: int = 4) -> str:
    """The frame size where the user names none: the smallest, or those of the capture."""
    return PCAP if traffic.pcap is not None else str(smallest_bytes(ip_version, traffic))


def frame_spec(size: str | int, *, ip_version: int = 4, flows: int = 1) -> FrameSpec:
    """Read a frame size as people write it ("64", 1518, "imix", "pcap"). Raises ConfigInvalid."""
    if ip_version not in (4, 6):
        raise ConfigInvalid(f"IP version {ip_version!r}: expected 4 or 6")
    return FrameSpec(
        size=frame_size.parse(size, ip_version=ip_version),
        ip_version=6 if ip_version == 6 else 4,
        flows=flows,
    )


@lru_cache(maxsize=256)
def _template(
    size: int,
    version: int,
    protocol: Protocol,
    vlans: tuple[int, ...],
    src_mac: str,
    dst_mac: str,
    src_ip: str,
    dst_ip: str,
    src_port: int,
    dst_port: int,
) -> bytes:
    """One frame without FCS, its payload all zero. UDP over IPv4 goes without a checksum, which RFC 768 allows."""
    from scapy.layers.inet import ICMP, IP, TCP
    from scapy.layers.inet import UDP as UDP_HEADER
    from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
    from scapy.layers.l2 import Dot1Q, Ether
    from scapy.packet import Raw

    types = [
        *([0x88A8] if len(vlans) == 2 else []),
        *([0x8100] if vlans else []),
        0x0800 if version == 4 else 0x86DD,
    ]
    frame = Ether(src=src_mac, dst=dst_mac, type=types[0])
    for vlan, inner in zip(vlans, types[1:], strict=True):
        frame = frame / Dot1Q(vlan=vlan, type=inner)
    frame = frame / (IP(src=src_ip, dst=dst_ip, id=0) if version == 4 else IPv6(src=src_ip, dst=dst_ip))
    if protocol == "tcp":
        frame = frame / TCP(sport=src_port, dport=dst_port, flags="A")
    elif protocol == "icmp":
        frame = frame / (ICMP(id=src_port) if version == 4 else ICMPv6EchoRequest(id=src_port))
    elif version == 4:
        frame = frame / UDP_HEADER(sport=src_port, dport=dst_port, chksum=0)
    else:
        frame = frame / UDP_HEADER(sport=src_port, dport=dst_port)
    return bytes(frame / Raw(bytes(size - FCS_BYTES - len(frame))))


def frames_command(
    spec: FrameSpec,
    *,
    src_mac: str,
    dst_mac: str,
    src_ip: str,
    dst_ip: str,
    src_port: int,
    dst_port: int,
    traffic: Traffic = UDP,
) -> dict[str, Any]:
    """Arguments of the probe's `frames` command for these frames (see probe/PROTOCOL.md).

    The first call takes the time of scapy's import (some 0.3 s).

    Raises ConfigInvalid when the flows' source ports go past 65535, and as FrameSpec.check.
    """
    spec.check(traffic)
    order, found = list(spec.order(traffic)), _captured(traffic)
    if found:
        macs = bytes.fromhex((dst_mac + src_mac).replace(":", ""))
        templates = [
            {
                "data": (macs + one.data[12:]).hex(),
                "signature_offset": one.payload_offset,
                "checksum_offset": one.checksum_offset,
            }
            for one in found
        ]
        return {"templates": templates, "order": order, "flows": 1, "fields": []}
    protocol = traffic.protocol
    ip = _ETHERNET_BYTES + _TAG_BYTES * len(traffic.vlans)
    l4 = ip + _IP_BYTES[spec.ip_version]
    no_checksum = protocol == "udp" and spec.ip_version == 4
    ends = (src_mac, dst_mac, src_ip, dst_ip, src_port, dst_port)
    own: dict[FieldName, int] = {
        "source_ip": int(ip_address(src_ip)),
        "destination_ip": int(ip_address(dst_ip)),
        "source_port": src_port,
        "destination_port": dst_port,
    }
    if traffic.fields:
        fields = [_field(one, own[one.name], l4, spec.ip_version) for one in traffic.fields]
    else:
        at = l4 + (_IDENTIFIER_AT if protocol == "icmp" else 0)
        fields = [{"offset": at, "bytes": 2, "first": src_port, "count": spec.flows}]
    _check_ports(fields)
    return {
        "templates": [
            {
                "data": _template(size, spec.ip_version, protocol, traffic.vlans, *ends).hex(),
                "signature_offset": l4 + _L4_BYTES[protocol],
                "checksum_offset": -1 if no_checksum else l4 + _CHECKSUM_AT[protocol],
            }
            for size in spec.sizes(traffic)
        ],
        "order": order,
        "flows": traffic.flows if traffic.fields else spec.flows,
        "fields": fields,
    }


def _field(one: FieldRange, own: int, l4: int, version: int) -> dict[str, Any]:
    """A field as the probe takes it: of an IPv6 address the last 32 bits."""
    address_bytes = 4 if version == 4 else 16
    place: dict[FieldName, tuple[int, int]] = {
        "source_ip": (l4 - address_bytes - 4, 4),
        "destination_ip": (l4 - 4, 4),
        "source_port": (l4, 2),
        "destination_port": (l4 + 2, 2),
    }
    offset, width = place[one.name]
    first = (own if one.first is None else int(one.first)) & 0xFFFFFFFF
    if one.seed is None:
        return {"offset": offset, "bytes": width, "first": first, "count": one.count}
    values = list(range(first, first + one.count))
    random.Random(one.seed).shuffle(values)  # noqa: S311 (a repeatable order, no secret)
    return {"offset": offset, "bytes": width, "values": values}


def _check_ports(fields: Sequence[dict[str, Any]]) -> None:
    for one in fields:
        last = max(one["values"]) if "values" in one else one["first"] + one["count"] - 1
        if one["bytes"] == 2 and last > 65535:
            first = min(one["values"]) if "values" in one else one["first"]
            raise ConfigInvalid(f"{last - first + 1} flows from port {first}: port numbers end at 65535")
