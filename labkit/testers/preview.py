"""The frames that a tester sends, written to a pcap file without sending them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import ConfigInvalid
from labkit.lab.topology import LinkKind, Topology
from labkit.machine.durable import replacing
from labkit.machine.ownership import hand_over
from labkit.testers.base import addressed
from labkit.testers.capture import ICMP, UDP, ip_header
from labkit.testers.frames import FrameSpec

TAG = 1
"""Of the signature: that of the first trial."""
_SIGNATURE = struct.Struct("!HQQ")  # tag, sequence, intended send time; see PROTOCOL.md
_PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)  # nanoseconds, Ethernet
_PCAP_RECORD = struct.Struct("<IIII")


def command_for(topology: Topology, spec: FrameSpec, *, own_mac: bool) -> dict[str, Any]:
    """Arguments of the probe's command `frames` for a lab that is not up. Raises ConfigInvalid."""
    if topology.links[0].kind is LinkKind.SIM:
        raise ConfigInvalid(
            f"{topology.source}: a simulated lab sends no frames", hint="name a lab with links"
        )
    ends = [link.tester for link in topology.links] + [topology.links[0].dut]
    for port in ends:
        if not port.mac:
            raise ConfigInvalid(
                f"{topology.source}: the MAC address of {port.name} is known only when the lab is up",
                hint="name the NIC by its mac: in the file",
            )
    first = topology.links[0]
    return addressed(
        spec,
        first=first.tester,
        peer=first.dut,
        last=topology.links[-1].tester,
        own_mac=own_mac,
        traffic=topology.traffic,
        source=str(topology.source),
    )


def as_sent(command: Mapping[str, Any], count: int) -> Iterator[bytes]:
    """The first `count` frames as the probe sends them, without FCS; the time in the signature is zero."""
    templates: Sequence[Mapping[str, Any]] = command["templates"]
    order: Sequence[int] = command["order"]
    for sequence in range(count):
        template = templates[order[sequence % len(order)]]
        frame = bytearray.fromhex(template["data"])
        signature, checksum = int(template["signature_offset"]), int(template["checksum_offset"])
        for one in command["fields"]:
            value = int(
                one["values"][sequence % len(one["values"])]
                if "values" in one
                else one["first"] + sequence % one["count"]
            )
            _write(frame, int(one["offset"]), value.to_bytes(one["bytes"], "big"), checksum)
        _write(frame, signature, _SIGNATURE.pack(TAG, sequence, 0), checksum)
        yield bytes(frame)


def _write(frame: bytearray, at: int, data: bytes, checksum: int) -> None:
    """Put whole words into a frame, and the checksums right that they are in."""
    ip, version, protocol = ip_header(frame)
    old = bytes(frame[at : at + len(data)])
    l4 = ip + (4 * (frame[ip] & 15) if version == 4 else 40)
    if version == 4 and at < l4:
        _adjust(frame, ip + 10, old, data, none=False)
    addresses = ip + (12 if version == 4 else 8)
    if checksum != -1 and (at >= l4 or (at >= addresses and protocol != ICMP)):
        _adjust(frame, checksum, old, data, none=protocol == UDP)
    frame[at : at + len(data)] = data


def _adjust(frame: bytearray, at: int, old: bytes, new: bytes, *, none: bool) -> None:
    """The checksum there after a change of whole words (RFC 1624, equation 3). `none`: zero says that there is none."""
    total = ~struct.unpack_from("!H", frame, at)[0] & 0xFFFF
    for (before,), (after,) in zip(struct.iter_unpack("!H", old), struct.iter_unpack("!H", new), strict=True):
        total += (~before & 0xFFFF) + after
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = ~total & 0xFFFF
    struct.pack_into("!H", frame, at, 0xFFFF if none and checksum == 0 else checksum)


def check_target(path: Path) -> None:
    """Raise ConfigInvalid for what is no file that may be replaced: a folder, a device, a pipe."""
    if path.exists() and not path.is_file():
        raise ConfigInvalid(f"{path}: is no regular file", hint="give the name of a file: -o out.pcap")
    if not path.resolve().parent.is_dir():
        raise ConfigInvalid(
            f"{path}: there is no such folder", hint="make it first, or give another file: -o"
        )


def write(path: Path, frames: Iterator[bytes]) -> int:
    """Write them to a pcap file, a microsecond apart; it is whole, or as it was before. Raises ConfigInvalid.

    Where the path is a symbolic link, to the file that it points to.
    """
    check_target(path)
    count, target = 0, path.resolve()
    try:
        with replacing(target) as draft, draft.open("wb") as file:
            file.write(_PCAP_HEADER)
            for count, frame in enumerate(frames, start=1):
                seconds, us = divmod(count - 1, 1_000_000)
                file.write(_PCAP_RECORD.pack(seconds, us * 1000, len(frame), len(frame)) + frame)
    except OSError as error:
        raise ConfigInvalid(
            f"{path}: cannot be written: {error.strerror}", hint="give another file: -o"
        ) from error
    hand_over(target)
    return count
