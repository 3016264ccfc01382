"""Typed wrappers of what Python's socket module lacks: bpf(2) and AF_XDP. Each raises OSError with the call's name."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

_libc = ctypes.CDLL(None, use_errno=True)
_BPF_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280}

_BPF_PROG_LOAD = 5
_BPF_LINK_CREATE = 28
_BPF_PROG_TYPE_XDP = 6
_BPF_XDP = 37
_XDP_FLAGS_DRV_MODE = 1 << 2
_XDP_PASS = 2

AF_XDP = 44
SOL_XDP = 283
_XDP_RX_RING, _XDP_TX_RING, _XDP_UMEM_REG, _XDP_UMEM_FILL_RING, _XDP_UMEM_COMPLETION_RING = 2, 3, 4, 5, 6
_XDP_OPTIONS = 8
XDP_COPY = 1 << 1
XDP_ZEROCOPY = 1 << 2
_CHUNK_BYTES = 4096
_RING = 64


def _failed(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")


def _bpf(command: int, attributes: bytes, call: str) -> int:
    number = _BPF_NUMBER.get(platform.machine())
    if number is None:
        raise OSError(f"bpf(2) has no known number on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    descriptor = _libc.syscall(number, command, buffer, len(buffer))
    if descriptor < 0:
        raise _failed(call)
    return int(descriptor)


def load_xdp_pass() -> int:
    """Load a program of two instructions that passes every frame on. Returns its file descriptor."""
    instructions = struct.pack("<BBhi", 0xB7, 0, 0, _XDP_PASS) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"Dual BSD/GPL")
    log = ctypes.create_string_buffer(4096)
    head = struct.pack("=IIQQIIQ", _BPF_PROG_TYPE_XDP, 2, *map(ctypes.addressof, (code, licence)), 1, 4096,
                       ctypes.addressof(log))  # fmt: skip
    return _bpf(_BPF_PROG_LOAD, head, "bpf(BPF_PROG_LOAD, XDP)")


def attach_native(program: int, interface: str) -> int:
    """Attach in native mode; the attachment ends when the returned descriptor is closed."""
    attributes = struct.pack(
        "=IIII", program, socket.if_nametoindex(interface), _BPF_XDP, _XDP_FLAGS_DRV_MODE
    )
    return _bpf(_BPF_LINK_CREATE, attributes, f"bpf(BPF_LINK_CREATE, native XDP on {interface})")


class _SockaddrXdp(ctypes.Structure):
    _fields_ = (
        ("family", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("ifindex", ctypes.c_uint32),
        ("queue", ctypes.c_uint32),
        ("shared_umem_fd", ctypes.c_uint32),
    )


def register_umem(sock: socket.socket, memory: mmap.mmap) -> None:
    """Hand `memory` (a multiple of 4096 bytes) to the socket: the kernel pins it."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    request = struct.pack("=QQIII4x", address, len(memory), _CHUNK_BYTES, 0, 0)
    try:
        sock.setsockopt(SOL_XDP, _XDP_UMEM_REG, request)
    except OSError as error:
        call = f"setsockopt(XDP_UMEM_REG, {len(memory) >> 20} MiB)"
        raise OSError(error.errno, f"{call}: {os.strerror(error.errno or 0)}") from None


_RELEASE_S = 0.5


@contextmanager
def bound_xdp(interface: str, flags: int) -> Iterator[socket.socket]:
    """An AF_XDP socket bound to queue 0 of `interface`. Raises OSError, naming the call that was refused."""
    with socket.socket(AF_XDP, socket.SOCK_RAW) as sock:
        memory = mmap.mmap(-1, 2 * _RING * _CHUNK_BYTES)
        register_umem(sock, memory)
        for ring in (_XDP_UMEM_FILL_RING, _XDP_UMEM_COMPLETION_RING, _XDP_RX_RING, _XDP_TX_RING):
            sock.setsockopt(SOL_XDP, ring, _RING)
        address = _SockaddrXdp(AF_XDP, flags, socket.if_nametoindex(interface), 0, 0)
        deadline = time.monotonic() + _RELEASE_S
        while _libc.bind(sock.fileno(), ctypes.byref(address), ctypes.sizeof(address)) != 0:
            # The kernel releases a queue some time after its last socket was closed.
            if ctypes.get_errno() == errno.EBUSY and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            raise _failed(
                f"bind({'XDP_ZEROCOPY' if flags & XDP_ZEROCOPY else 'XDP_COPY'} on {interface} queue 0)"
            )
        yield sock


def xdp_options(sock: socket.socket) -> int:
    """XDP_OPTIONS as read back (1: zero-copy)."""
    options: int = struct.unpack("=I", sock.getsockopt(SOL_XDP, _XDP_OPTIONS, 4))[0]
    return options
