"""Attempts at DPDK: the EAL is started in this process without hugepages, then each driver creates a port.

The EAL starts once a process. What it logs goes to stderr, where the actual error is taken from.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from labkit.doctor.model import Unavailable
from labkit.doctor.scratch import FAR, NEAR

_MEMORY_MIB = 64


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect what native code writes to stderr meanwhile; filled when the block ends."""
    lines: list[str] = []
    log, before = os.memfd_create("log"), os.dup(2)
    os.dup2(log, 2)
    try:
        yield lines
    finally:
        os.dup2(before, 2)
        os.close(before)
        lines += [
            line for line in os.pread(log, 1 << 16, 0).decode(errors="replace").splitlines() if line.strip()
        ]
        os.close(log)


class _VhostCallbacks(ctypes.Structure):
    """rte_vhost_device_ops: the library calls the first two unchecked, the others where they are not NULL."""

    _fields_ = (
        ("new_device", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)),
        ("destroy_device", ctypes.CFUNCTYPE(None, ctypes.c_int)),
        ("others", ctypes.c_void_p * 16),
    )


def _new_device(_device: int) -> int:
    return 0


def _destroy_device(_device: int) -> None:
    pass


_CALLBACKS = _VhostCallbacks(
    _VhostCallbacks._fields_[0][1](_new_device), _VhostCallbacks._fields_[1][1](_destroy_device)
)
"""Kept: the library's thread calls them whenever the other side connects, starts and goes."""


def _why(lines: list[str], code: int) -> str:
    return " / ".join(lines[-2:]) if lines else os.strerror(abs(code))


@cache
def _start_eal() -> tuple[ctypes.CDLL | None, str]:
    """Start the EAL, which a process can do once: librte_eal, or None and its last log lines."""
    try:
        library = ctypes.CDLL("librte_eal.so")
    except OSError as error:
        return None, str(error)
    allowed = os.sched_getaffinity(0)
    words = ["labkit-doctor", "--no-pci", "--no-huge", "--no-shconf", "--no-telemetry"]
    words += ["-m", str(_MEMORY_MIB), "-l", str(min(allowed))]
    arguments = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
    with _logged() as lines:
        code = library.rte_eal_init(len(words), arguments)
    os.sched_setaffinity(0, allowed)  # the EAL pinned this thread; other checks and their programs inherit it
    return (None, f"rte_eal_init: {_why(lines, code)}") if code < 0 else (library, "")


def _eal() -> ctypes.CDLL:
    library, why = _start_eal()
    if library is None:
        raise Unavailable(why)
    return library


def _probe(device: str) -> None:
    """Let a driver create a port from a --vdev value. Raises Unavailable with what the driver logged."""
    with _logged() as lines:
        code = _eal().rte_dev_probe(device.encode())
    if code != 0:
        raise Unavailable(f"{device}: {_why(lines, code)}")
    name = device.split(",", 1)[0]
    port = ctypes.c_uint16()
    if ctypes.CDLL("librte_ethdev.so").rte_eth_dev_get_port_by_name(name.encode(), ctypes.byref(port)) != 0:
        raise Unavailable(f"{device}: the driver was found but created no port")


def eal() -> str:
    """The EAL starts without hugepages and without root."""
    version = _eal().rte_version
    version.restype = ctypes.c_char_p
    return f"{version().decode()} started with {_MEMORY_MIB} MiB and no hugepages"


def memif() -> str:
    """A memif port."""
    _probe("net_memif_doctor,role=server,socket=/run/memif.sock,socket-abstract=no")
    return "created a net_memif port"


def vhost() -> str:
    """A vhost-user port; and a virtio-user port that connects to a vhost-user server in this process."""
    _probe("net_vhost_doctor,iface=/run/vhost-port.sock")
    path = b"/run/vhost-server.sock"
    with _logged() as lines:
        library = ctypes.CDLL("librte_vhost.so")
        code = (
            library.rte_vhost_driver_register(path, ctypes.c_uint64(0))
            or library.rte_vhost_driver_callback_register(path, ctypes.byref(_CALLBACKS))
            or library.rte_vhost_driver_start(path)
        )
    if code != 0:
        raise Unavailable(f"vhost-user server: {_why(lines, code)}")
    _probe(f"net_virtio_user_doctor,path={path.decode()}")
    with _logged():
        library.rte_vhost_driver_unregister(path)
    return "created a net_vhost port, and a net_virtio_user port that connected to a vhost-user server"


def af_packet() -> str:
    """A port on an AF_PACKET socket."""
    _probe(f"net_af_packet_doctor,iface={NEAR}")
    return "created a net_af_packet port on a veth"


def af_xdp() -> str:
    """A port of the AF_XDP driver (its sockets are created when it is started)."""
    _probe(f"net_af_xdp_doctor,iface={FAR}")
    return "created a net_af_xdp port on a veth"
