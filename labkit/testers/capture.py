"""Frames of a capture file (pcap or pcapng), as templates: what has room for a signature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from labkit.errors import ConfigInvalid

FRAMES_MAX: Final = 256
BYTES_MAX: Final = 400_000
"""Of all frames together: they go to the probe in one line of hexadecimal digits, of 1 MiB at most."""
_LARGEST_BYTES: Final = 9216
_SIGNATURE_BYTES: Final = 18
_TAGS: Final = (0x8100, 0x88A8)
UDP: Final = 17
TCP: Final = 6
ICMP: Final = 1
ICMP6: Final = 58
_CHECKSUM_AT: Final = {UDP: 6, TCP: 16, ICMP: 2, ICMP6: 2}
_ECHO: Final = {ICMP: (0, 8), ICMP6: (128, 129)}


@dataclass(frozen=True, slots=True)
class Captured:
    """One frame, without FCS."""

    data: bytes
    payload_offset: int
    """Where the signature goes, over what the frame had there."""
    checksum_offset: int
    """-1: UDP over IPv4 without a checksum."""
    protocol: int
    """Of its IP header."""


@lru_cache(maxsize=8)
def read(path: Path) -> tuple[Captured, ...]:
    """The frames of a file. Raises ConfigInvalid, with the frame's number (from 1, as Wireshark counts)."""
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    hint = "expected a capture of whole Ethernet frames, pcap or pcapng"
    found: list[Captured] = []
    try:
        with RawPcapReader(str(path)) as reader:
            for number, (data, about) in enumerate(reader, start=1):
                kind = getattr(about, "linktype", None) or getattr(reader, "linktype", None)
                if kind != 1:
                    raise ConfigInvalid(f"{path}: its link type is {kind}, not Ethernet (1)", hint=hint)
                if about.wirelen is not None and about.wirelen != len(data):
                    raise ConfigInvalid(
                        f"{path}: frame {number} was captured in part: {len(data)} of {about.wirelen} bytes",
                        hint=hint,
                    )
                if number > FRAMES_MAX:
                    raise ConfigInvalid(
                        f"{path}: more than {FRAMES_MAX} frames",
                        hint=f"cut it: editcap -r IN OUT 1-{FRAMES_MAX}",
                    )
                found.append(described(data, f"{path}: frame {number}"))
    except (OSError, EOFError, Scapy_Exception) as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error}", hint=hint) from None
    if not found:
        raise ConfigInvalid(f"{path}: has no frame", hint=hint)
    if (size := sum(len(one.data) for one in found)) > BYTES_MAX:
        raise ConfigInvalid(
            f"{path}: {size} bytes of frames, expected at most {BYTES_MAX}", hint="fewer frames"
        )
    return tuple(found)


def ip_header(frame: bytes | bytearray) -> tuple[int, int, int]:
    """Where it starts, behind at most two VLAN tags; its version (0: another protocol), and its protocol."""
    ip = 14
    while int.from_bytes(frame[ip - 2 : ip], "big") in _TAGS and ip < 22:
        ip += 4
    version = {0x0800: 4, 0x86DD: 6}.get(int.from_bytes(frame[ip - 2 : ip], "big"), 0)
    at = ip + (9 if version == 4 else 6)
    return ip, version, frame[at] if version and at < len(frame) else 0


def described(data: bytes, where: str) -> Captured:
    """A frame and where its headers end, as the probe finds it (packet_find_any).

    Raises ConfigInvalid, which begins with `where`.
    """

    def number(at: int, size: int = 2) -> int:
        return int.from_bytes(data[at : at + size], "big")

    expected = ConfigInvalid(
        f"{where}: expected IPv4 without options or fragments, or IPv6; UDP, TCP or an ICMP echo; and at most two VLAN "
        "tags",
        hint="keep such frames alone, with a display filter",
    )
    if len(data) > _LARGEST_BYTES:
        raise ConfigInvalid(f"{where}: {len(data)} bytes, expected at most {_LARGEST_BYTES}")
    ip, version, protocol = ip_header(data)
    if version == 4 and number(ip, 1) == 0x45 and not number(ip + 6) & 0x3FFF:
        l4, whole = ip + 20, ip + number(ip + 2)
    elif version == 6:
        l4, whole = ip + 40, ip + 40 + number(ip + 4)
    else:
        raise expected
    if protocol == TCP:
        payload = l4 + (number(l4 + 12, 1) >> 4) * 4
    elif protocol == UDP or (
        protocol == (ICMP if version == 4 else ICMP6) and number(l4, 1) in _ECHO[protocol]
    ):
        payload = l4 + 8
    else:
        raise expected
    if min(len(data), whole) < payload + _SIGNATURE_BYTES or payload < l4 + 8:
        raise ConfigInvalid(
            f"{where}: no room for a signature of {_SIGNATURE_BYTES} bytes behind its headers",
            hint="leave out frames without payload, such as TCP's acknowledgements",
        )
    if len(data) < whole:
        raise ConfigInvalid(f"{where}: {len(data)} bytes, and its IP header says {whole}: it was cut short")
    checksum = l4 + _CHECKSUM_AT[protocol]
    if protocol == UDP and version == 4 and number(checksum) == 0:
        checksum = -1
    return Captured(data=data, payload_offset=payload, checksum_offset=checksum, protocol=protocol)
