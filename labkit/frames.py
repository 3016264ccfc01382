"""Frame templates, built with scapy.

The only place where scapy (GPL-2.0) is imported, and only when a frame is built: the probe fills in what changes
from frame to frame.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

from labkit.errors import ConfigInvalid

FCS_BYTES = 4
SIGNATURE_BYTES = 18
UDP_BYTES = 8
ETHERNET_BYTES = 14
IP_BYTES = {4: 20, 6: 40}
SMALLEST = {4: 64, 6: ETHERNET_BYTES + IP_BYTES[6] + UDP_BYTES + SIGNATURE_BYTES + FCS_BYTES}
LARGEST = 9216 + FCS_BYTES
FLOWS_MAX = 32768

# IMIX as CSIT uses it: frame size and weight.
IMIX = ((64, 28), (570, 16), (1518, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpec:
    """What is sent: size on the wire with FCS (or "imix"), IP version, number of flows (UDP source ports)."""

    size: int | Literal["imix"] = 64
    ip_version: Literal[4, 6] = 4
    flows: int = 1

    def __post_init__(self) -> None:
        if self.size != "imix" and not SMALLEST[self.ip_version] <= self.size <= LARGEST:
            raise ConfigInvalid(
                f"frame size {self.size} B: expected {SMALLEST[self.ip_version]} to {LARGEST} B with FCS for "
                f"IPv{self.ip_version}",
                hint="the smallest IPv6 frame that holds the signature is 84 B"
                if self.ip_version == 6
                else None,
            )
        if not 1 <= self.flows <= FLOWS_MAX:
            raise ConfigInvalid(f"flows {self.flows}: expected 1 to {FLOWS_MAX}")

    @property
    def label(self) -> str:
        """Part of test ids: "64", "imix"."""
        return str(self.size)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes that occur, with FCS."""
        if self.size != "imix":
            return (self.size,)
        return tuple(max(size, SMALLEST[self.ip_version]) for size, _ in IMIX)

    @property
    def order(self) -> list[int]:
        """Index into `sizes`, frame by frame; the IMIX is shuffled, always in the same way."""
        if self.size != "imix":
            return [0]
        order = [index for index, (_, weight) in enumerate(IMIX) for _ in range(weight)]
        random.Random(2544).shuffle(order)  # noqa: S311 - an order, not a secret
        return order


@cache
def _template(
    size: int,
    ip_version: int,
    src_mac: str,
    dst_mac: str,
    src_ip: str,
    dst_ip: str,
    src_port: int,
    dst_port: int,
) -> bytes:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    if ip_version == 6:
        from scapy.layers.inet6 import IPv6

        network = IPv6(src=src_ip, dst=dst_ip, hlim=64)
        udp = UDP(sport=src_port, dport=dst_port)  # a checksum of 0 is not allowed over IPv6 (RFC 8200 8.1)
    else:
        network = IP(src=src_ip, dst=dst_ip, ttl=64, id=0)
        udp = UDP(sport=src_port, dport=dst_port, chksum=0)
    payload = size - FCS_BYTES - ETHERNET_BYTES - IP_BYTES[ip_version] - UDP_BYTES
    return bytes(Ether(src=src_mac, dst=dst_mac) / network / udp / Raw(b"\0" * payload))


def frames_command(
    spec: FrameSpec, *, src_mac: str, dst_mac: str, src_ip: str, dst_ip: str, src_port: int, dst_port: int
) -> dict[str, object]:
    """The arguments of the probe's `frames` command."""
    udp_offset = ETHERNET_BYTES + IP_BYTES[spec.ip_version]
    templates = [
        {
            "data": _template(
                size, spec.ip_version, src_mac, dst_mac, src_ip, dst_ip, src_port, dst_port
            ).hex(),
            "signature_offset": udp_offset + UDP_BYTES,
            "udp_checksum_offset": udp_offset + 6 if spec.ip_version == 6 else -1,
            "ip_version": spec.ip_version,
        }
        for size in spec.sizes
    ]
    return {"templates": templates, "order": spec.order, "flows": spec.flows, "flow_offset": udp_offset}
