"""The frames that a tester sends: their specification, and the templates that the probe stamps and sends.

The only place that imports scapy (GPL-2.0, and slow to import), and only when frames are built.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from labkit.errors import ConfigInvalid
from labkit.measure import frame_size
from labkit.measure.frame_size import FCS_BYTES, SMALLEST_BYTES

FRAME_OVER_MTU_BYTES = 14 + FCS_BYTES
"""What a frame has beyond the MTU: the Ethernet header and the FCS."""
SIGNATURE_BYTES = 18
FLOWS_MAX = 32768

IMIX: tuple[tuple[int, int], ...] = ((64, 28), (570, 16), (1518, 4))
"""(frame size, how many in 48): the mix that CSIT and TRex call IMIX."""
_IMIX_SEED = 2544

_ETHERNET_BYTES = 14
_UDP_BYTES = 8
_IP_BYTES = {4: 20, 6: 40}


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """Which frames a trial sends."""

    size: int | Literal["imix"] = 64
    """Frame size with FCS [bytes], or "imix"."""
    ip_version: Literal[4, 6] = 4
    flows: int = 1
    """Flows that the frames take turns in; they differ in their UDP source port."""

    def __post_init__(self) -> None:
        if self.ip_version not in (4, 6):
            raise ConfigInvalid(f"IP version {self.ip_version!r}: expected 4 or 6")
        frame_size.check(self.size, ip_version=self.ip_version)
        if not 1 <= self.flows <= FLOWS_MAX:
            raise ConfigInvalid(f"{self.flows} flows: expected 1 to {FLOWS_MAX}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The different frame sizes in it, smallest first [bytes with FCS]."""
        if self.size == "imix":
            return tuple(max(size, SMALLEST_BYTES[self.ip_version]) for size, _ in IMIX)
        return (self.size,)

    @property
    def order(self) -> tuple[int, ...]:
        """Index into `sizes`, frame by frame, to be repeated. The mix is shuffled, always in the same way."""
        if self.size != "imix":
            return (0,)
        order = [index for index, (_, share) in enumerate(IMIX) for _ in range(share)]
        random.Random(_IMIX_SEED).shuffle(order)  # noqa: S311 (a fixed order, no secret)
        return tuple(order)

    @property
    def mean_size_bytes(self) -> float:
        """Mean frame size [bytes with FCS]."""
        order = self.order
        return sum(self.sizes[index] for index in order) / len(order)


def frame_spec(size: str | int, *, ip_version: int = 4, flows: int = 1) -> FrameSpec:
    """Read a frame size as people write it ("64", 1518, "imix"). Raises ConfigInvalid."""
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
    src_mac: str,
    dst_mac: str,
    src_ip: str,
    dst_ip: str,
    src_port: int,
    dst_port: int,
) -> bytes:
    """One frame without FCS, its payload all zero. IPv4 goes without a UDP checksum, which RFC 768 allows."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    payload = bytes(size - FCS_BYTES - _ETHERNET_BYTES - _IP_BYTES[version] - _UDP_BYTES)
    ethernet = Ether(src=src_mac, dst=dst_mac, type=0x0800 if version == 4 else 0x86DD)
    if version == 4:
        frame = ethernet / IP(src=src_ip, dst=dst_ip, id=0) / UDP(sport=src_port, dport=dst_port, chksum=0)
    else:
        frame = ethernet / IPv6(src=src_ip, dst=dst_ip) / UDP(sport=src_port, dport=dst_port)
    return bytes(frame / payload)


def frames_command(
    spec: FrameSpec,
    *,
    src_mac: str,
    dst_mac: str,
    src_ip: str,
    dst_ip: str,
    src_port: int,
    dst_port: int,
) -> dict[str, Any]:
    """Arguments of the probe's `frames` command for these frames (see probe/PROTOCOL.md).

    The first call takes the time of scapy's import (some 0.3 s).

    Raises ConfigInvalid when the flows' source ports go past 65535.
    """
    if src_port + spec.flows - 1 > 65535:
        raise ConfigInvalid(f"{spec.flows} flows from source port {src_port}: port numbers end at 65535")
    udp = _ETHERNET_BYTES + _IP_BYTES[spec.ip_version]
    return {
        "templates": [
            {
                "data": _template(
                    size, spec.ip_version, src_mac, dst_mac, src_ip, dst_ip, src_port, dst_port
                ).hex(),
                "signature_offset": udp + _UDP_BYTES,
                "udp_checksum_offset": -1 if spec.ip_version == 4 else udp + 6,
                "ip_version": spec.ip_version,
            }
            for size in spec.sizes
        ],
        "order": list(spec.order),
        "flows": spec.flows,
        "flow_offset": udp,
    }
