"""What a driver tells of its NIC: name, firmware and pause frames, by ethtool's ioctl (pyroute2 knows neither).

It is about the network namespace that the calling thread is in.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from dataclasses import dataclass

_SIOCETHTOOL = 0x8946
_GET_DRIVER, _GET_PAUSE = 0x3, 0x12
"""ETHTOOL_GDRVINFO and ETHTOOL_GPAUSEPARAM of linux/ethtool.h."""
_DRIVER = struct.Struct("=I32s32s32s32s32s12s5I")
_PAUSE = struct.Struct("=4I")
_REQUEST = struct.Struct("16sP16x")
"""struct ifreq, with a pointer."""


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver of an interface. Empty: it does not say."""

    name: str
    version: str
    firmware: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Whether a NIC obeys pause frames, and sends them (IEEE Std 802.3, annex 31B)."""

    autonegotiated: bool
    receive: bool
    send: bool


def driver(interface: str) -> Driver | None:
    """None: it has none that says so."""
    answer = _ask(interface, _DRIVER, _GET_DRIVER)
    return None if answer is None else Driver(*(_text(field) for field in answer[1:4]))


def pause(interface: str) -> Pause | None:
    """None: it knows no pause frames."""
    answer = _ask(interface, _PAUSE, _GET_PAUSE)
    return None if answer is None else Pause(*map(bool, answer[1:]))


def _ask(interface: str, layout: struct.Struct, command: int) -> tuple[object, ...] | None:
    buffer = ctypes.create_string_buffer(struct.pack("=I", command), layout.size)
    request = _REQUEST.pack(interface.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError:  # no such interface, or its driver has no such operation
            return None
    return layout.unpack(buffer.raw)


def _text(field: object) -> str:
    return bytes(field).partition(b"\0")[0].decode(errors="replace") if isinstance(field, bytes) else ""
