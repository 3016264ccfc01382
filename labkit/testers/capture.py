"""Frames of a capture file (pcap or pcapng), as templates: what has room for a signature."""

from __future__ import annotations

import hashlib
import logging
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from labkit.errors import ConfigInvalid

FRAMES_MAX: Final = 256
BYTES_MAX: Final = 400_000
"""Of all frames together: they go to the probe in one line of hexadecimal digits, of 1 MiB at most."""
_LARGEST_BYTES: Final = 9216
SIGNATURE_BYTES: Final = 18
_PCAP_HEADER_BYTES, _RECORD_HEADER_BYTES = 24, 16
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


class _Warnings(logging.Handler):
    """What scapy has to say of a file, which it then reads as far as it goes."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@lru_cache(maxsize=8)
def read(path: Path, sha256: str = "") -> tuple[Captured, ...]:
    """The frames of a file. Raises ConfigInvalid, with the frame's number (from 1, as Wireshark counts).

    `sha256`: of the file that rows name; another one is refused. Empty: any.
    """
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapNgReader, RawPcapReader

    hint = "expected a capture of whole Ethernet frames, pcap or pcapng"
    found: list[Captured] = []
    warnings = _Warnings()
    logger = logging.getLogger("scapy.runtime")
    logger.addHandler(warnings)
    logger.propagate, before = False, logger.propagate
    try:
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise ConfigInvalid(f"{path}: has changed since the lab's file was read", hint="run it again")
        with RawPcapReader(str(path)) as reader:
            for number, (data, about) in enumerate(reader, start=1):
                kind = getattr(about, "linktype", getattr(reader, "linktype", None))
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
            whole = _PCAP_HEADER_BYTES + sum(_RECORD_HEADER_BYTES + len(one.data) for one in found)
            if warnings.said or (not isinstance(reader, RawPcapNgReader) and reader.f.tell() != whole):
                raise ConfigInvalid(
                    f"{path}: is cut short behind frame {len(found)}{': ' if warnings.said else ''}"
                    f"{'; '.join(dict.fromkeys(warnings.said))}",
                    hint=hint,
                )
    except (OSError, EOFError, ValueError, zlib.error, Scapy_Exception) as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error}", hint=hint) from None
    finally:
        logger.removeHandler(warnings)
        logger.propagate = before
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
    least = l4 + (20 if protocol == TCP else 8)
    if protocol == TCP:
        payload = l4 + (number(l4 + 12, 1) >> 4) * 4
    elif protocol == UDP or (
        protocol == (ICMP if version == 4 else ICMP6) and number(l4, 1) in _ECHO[protocol]
    ):
        payload = l4 + 8
    else:
        raise expected
    if payload < least:
        raise ConfigInvalid(
            f"{where}: its TCP header says that it is {payload - l4} bytes long: expected 20 or more"
        )
    if min(len(data), whole) < payload + SIGNATURE_BYTES:
        raise ConfigInvalid(
            f"{where}: no room for a signature of {SIGNATURE_BYTES} bytes behind its headers",
            hint="leave out frames without payload, such as TCP's acknowledgements",
        )
    if len(data) < whole:
        raise ConfigInvalid(f"{where}: {len(data)} bytes, and its IP header says {whole}: it was cut short")
    checksum = l4 + _CHECKSUM_AT[protocol]
    if protocol == UDP and version == 4 and number(checksum) == 0:
        checksum = -1
    right = _with_checksums(data, ip, l4, whole, version, protocol, checksum)
    return Captured(data=right, payload_offset=payload, checksum_offset=checksum)


def _with_checksums(
    data: bytes, ip: int, l4: int, whole: int, version: int, protocol: int, checksum: int
) -> bytes:
    """The frame with right checksums (RFC 1071): where it was captured before a NIC that adds them, it has none."""
    frame = bytearray(data)
    if version == 4:
        frame[ip + 10 : ip + 12] = bytes(2)
        frame[ip + 10 : ip + 12] = _checksum(frame[ip:l4])
    if checksum != -1:
        frame[checksum : checksum + 2] = bytes(2)
        covered = bytes(frame[l4:whole])
        if protocol != ICMP:
            addresses = frame[ip + 12 : ip + 20] if version == 4 else frame[ip + 8 : ip + 40]
            covered = (
                bytes(addresses) + (whole - l4).to_bytes(4, "big") + protocol.to_bytes(4, "big") + covered
            )
        found = _checksum(covered)
        frame[checksum : checksum + 2] = b"\xff\xff" if protocol == UDP and found == bytes(2) else found
    return bytes(frame)


def _checksum(data: bytes | bytearray) -> bytes:
    padded = bytes(data) + bytes(len(data) % 2)
    total = sum(word for (word,) in struct.iter_unpack("!H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF).to_bytes(2, "big")
