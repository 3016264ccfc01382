"""Messages over TCP: the templates that the probe's transport `tcp` sends, and which sizes there are.

The frames of a lab with `traffic: {protocol: tcp}` are something else: TCP segments without a connection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labkit.errors import ConfigInvalid
from labkit.lab.traffic import Traffic
from labkit.measure.frame_size import FCS_BYTES
from labkit.testers.frames import FrameSpec, frames_command

SMALLEST_BYTES, LARGEST_BYTES = 64, 9000
"""Of a message, labkit's header included [bytes]."""
CONNECTIONS_MAX = 4096
_SIGNATURE_BYTES, _LENGTH_BYTES = 18, 4
_HEADERS_BYTES = {4: 14 + 20 + 20, 6: 14 + 40 + 20}
_TCP = Traffic(protocol="tcp")


def check(spec: FrameSpec) -> None:
    """Raise ConfigInvalid for a size or a number of flows that connections don't take."""
    if not isinstance(spec.size, int):
        raise ConfigInvalid(
            f"frame size {spec.size}: over TCP it is the size of a message, and all have one",
            hint=f"{SMALLEST_BYTES} to {LARGEST_BYTES} bytes",
        )
    if not SMALLEST_BYTES <= spec.size <= LARGEST_BYTES:
        raise ConfigInvalid(
            f"frame size {spec.size}: over TCP it is the size of a message, expected {SMALLEST_BYTES} to "
            f"{LARGEST_BYTES} bytes",
            hint="a smaller message: the kernel cuts and joins messages as it likes",
        )
    if spec.flows > CONNECTIONS_MAX:
        raise ConfigInvalid(f"{spec.flows} flows: expected 1 to {CONNECTIONS_MAX} connections over TCP")


def messages_command(
    spec: FrameSpec, *, src_ip: str, dst_ip: str, src_port: int, dst_port: int
) -> dict[str, Any]:
    """Arguments of the probe's `frames` command: messages of `spec.size` bytes, each with its length in its header.

    `spec.flows` are connections, which messages take in turn. The headers of the templates only name the addresses.
    Raises ConfigInvalid as `check`.
    """
    check(spec)
    headers = _HEADERS_BYTES[spec.ip_version]
    size = int(spec.size)
    found = frames_command(
        replace(spec, size=size + headers + FCS_BYTES),
        src_mac="02:00:00:00:00:01",
        dst_mac="02:00:00:00:00:02",
        src_ip=src_ip,
        dst_ip=dst_ip,
        src_port=src_port,
        dst_port=dst_port,
        traffic=_TCP,
    )
    at = headers + _SIGNATURE_BYTES
    for template in found["templates"]:
        data = bytearray.fromhex(template["data"])
        data[at : at + _LENGTH_BYTES] = size.to_bytes(_LENGTH_BYTES, "big")
        template["data"] = data.hex()
    return found
