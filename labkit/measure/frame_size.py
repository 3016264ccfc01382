"""Sizes of frames: which there are, and how people write them."""

from __future__ import annotations

from typing import Final, Literal

from labkit.errors import ConfigInvalid
from labkit.units import parse_whole

FCS_BYTES: Final = 4
"""Frame sizes count it; no buffer holds it."""
SMALLEST_BYTES: Final = {4: 64, 6: 84}
"""Ethernet 14, IP 20 or 40, UDP 8, signature 18, FCS 4: 64 for IPv4, 84 for IPv6."""
IMIX: Final = "imix"
OWN_IMIX: Final[tuple[tuple[int, int], ...]] = ((64, 28), (570, 16), (1518, 4))
"""(frame size, how many in 48): what it stands for unless a lab says otherwise; the mix of CSIT and TRex."""
PCAP: Final = "pcap"
"""On a lab whose traffic is a capture: the sizes are its own."""
_NAMED: Final = (IMIX, PCAP)
LARGEST_BYTES: Final = 9216 + FCS_BYTES


def check(size: object, *, ip_version: int = 4) -> None:
    """Raise ConfigInvalid for what is no frame size: bytes in range, "imix" or "pcap"."""
    smallest = SMALLEST_BYTES[ip_version]
    if size not in _NAMED and (
        not isinstance(size, int) or isinstance(size, bool) or not smallest <= size <= LARGEST_BYTES
    ):
        raise ConfigInvalid(
            f"frame size {size!r}: expected {smallest} to {LARGEST_BYTES} bytes with FCS for IPv{ip_version}, imix or "
            "pcap"
        )


def parse(written: str | int, *, ip_version: int = 4) -> int | Literal["imix", "pcap"]:
    """Read a frame size as people write it ("64", 1518, "imix", "pcap"). Raises ConfigInvalid."""
    if written == IMIX:
        return IMIX
    if written == PCAP:
        return PCAP
    size = parse_whole(str(written))
    if size is None:
        raise ConfigInvalid(f"frame size {written!r}: expected bytes with FCS (64, 1518), imix or pcap")
    check(size, ip_version=ip_version)
    return size
