"""Attempts at the kernel's own datapaths: UDP, AF_PACKET, XDP and AF_XDP, on the scratch veth pair."""

from __future__ import annotations

import errno
import mmap
import os
import re
import select
import socket
import struct

from labkit.doctor.model import Unavailable
from labkit.doctor.scratch import FAR, NEAR, ORDINARY_MTU_BYTES
from labkit.doctor.syscalls import (
    AF_XDP,
    XDP_COPY,
    XDP_ZEROCOPY,
    attach_native,
    bound_xdp,
    load_xdp_pass,
    register_umem,
    xdp_options,
)
from labkit.machine.netlink import rtnetlink

_SOL_PACKET, _PACKET_RX_RING, _PACKET_VERSION, _PACKET_QDISC_BYPASS, _TPACKET_V3 = 263, 5, 10, 20, 2
_ETHERTYPE_EXPERIMENTAL = 0x88B5
_SO_BUSY_POLL, _SO_INCOMING_NAPI_ID, _SO_PREFER_BUSY_POLL, _SO_BUSY_POLL_BUDGET = 46, 56, 69, 70
_MEMLOCK_BYTES = 64 << 20
"""More than the probe's UMEM with its rings."""


def udp() -> str:
    """A datagram is sent to a socket of the namespace and echoed."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.settimeout(1.0)
        client.sendto(b"labkit", server.getsockname())
        server.settimeout(1.0)
        data, sender = server.recvfrom(64)
        server.sendto(data, sender)
        if client.recv(64) != b"labkit":
            raise Unavailable("the received datagram differs from the one sent")
    return "sent and received a UDP datagram in a scratch namespace"


def packet() -> str:
    """A frame sent past the qdisc on one end of the pair arrives at a TPACKET_V3 ring on the other."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as receiver,
    ):
        receiver.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        block_bytes, blocks = 1 << 16, 4
        ring = struct.pack("=IIIIIII", block_bytes, blocks, 2048, block_bytes // 2048 * blocks, 1, 0, 0)
        receiver.setsockopt(_SOL_PACKET, _PACKET_RX_RING, ring)
        receiver.bind((FAR, _ETHERTYPE_EXPERIMENTAL))
        sender.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        sender.bind((NEAR, 0))
        sender.send(
            b"\xff" * 6 + b"\x02" + b"\x00" * 5 + struct.pack("!H", _ETHERTYPE_EXPERIMENTAL) + bytes(46)
        )
        readable, _, _ = select.select([receiver], [], [], 1.0)
        if not readable:
            raise Unavailable(
                "a frame sent on one end of a veth pair did not reach the ring on the other within 1 s"
            )
    return "received a frame from a veth pair in a TPACKET_V3 ring, qdisc bypassed"


def bpf() -> str:
    """The kernel's verifier accepts an XDP program."""
    os.close(load_xdp_pass())
    return "loaded an XDP program"


def xdp_native() -> str:
    """The program is attached to the driver's own hook of a veth."""
    program = load_xdp_pass()
    try:
        try:
            attached = attach_native(program, FAR)
        except OSError as error:
            if error.errno == errno.ERANGE:
                raise mtu_too_large() from None
            raise
        largest = _largest_mtu()
        os.close(attached)
    finally:
        os.close(program)
    return f"attached to a veth in native mode and detached again (MTU up to {largest} B)"


def mtu_too_large() -> Unavailable:
    """Native XDP does not support the scratch link's MTU; names the largest MTU that it supports on this kernel."""
    now, program = _mtu(), load_xdp_pass()
    try:
        _set_mtu(ORDINARY_MTU_BYTES)
        attached = attach_native(program, FAR)
        largest = _largest_mtu()
        os.close(attached)
    finally:
        os.close(program)
        _set_mtu(now)
    return Unavailable(
        f"native XDP on a veth supports an MTU of at most {largest} B, and the link has {now} B",
        fix=f"mtu: {largest} B or less in the topology, and frames of at most {largest + 18} B; the backends kernel "
        "and af_packet run with this MTU",
    )


def _mtu() -> int:
    with rtnetlink() as route:
        return int(route.get_links(ifname=FAR)[0].get_attr("IFLA_MTU"))


def _largest_mtu() -> int:
    """The MTU that a veth may have whose peer has a native XDP program."""
    with rtnetlink() as route:
        return int(route.get_links(ifname=NEAR)[0].get_attr("IFLA_MAX_MTU"))


def _set_mtu(mtu_bytes: int) -> None:
    with rtnetlink() as route:
        for name in (NEAR, FAR):
            route.link("set", index=route.link_lookup(ifname=name)[0], mtu=mtu_bytes)


def af_xdp_copy() -> str:
    """A socket is bound to a queue in copy mode."""
    with bound_xdp(FAR, XDP_COPY):
        pass
    return "bound to queue 0 of a veth in copy mode"


def af_xdp_zerocopy() -> str:
    """A socket is bound to a queue in zero-copy mode, which the driver must support."""
    with bound_xdp(NEAR, XDP_ZEROCOPY) as sock:
        if not xdp_options(sock) & 1:
            raise Unavailable(
                "bind(XDP_ZEROCOPY) succeeded, but XDP_OPTIONS reads back without the zero-copy bit"
            )
    return "bound to queue 0 of a veth in zero-copy mode"


def busy_poll() -> str:
    """An AF_XDP socket on a veth accepts the three options of preferred busy polling and has a NAPI context."""
    with bound_xdp(FAR, XDP_COPY) as sock:
        for name, option, value in (
            ("SO_PREFER_BUSY_POLL", _SO_PREFER_BUSY_POLL, 1),
            ("SO_BUSY_POLL", _SO_BUSY_POLL, 20),
            ("SO_BUSY_POLL_BUDGET", _SO_BUSY_POLL_BUDGET, 64),
        ):
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, value)
            except OSError as error:
                raise OSError(
                    error.errno, f"setsockopt({name}, {value}): {os.strerror(error.errno or 0)}"
                ) from None
        if sock.getsockopt(socket.SOL_SOCKET, _SO_BUSY_POLL) != 20:
            raise Unavailable("SO_BUSY_POLL did not read back as set")
        # Before Linux 6.13 a veth's NAPI context came with the first frame: there the proof reads it later.
        if not sock.getsockopt(socket.SOL_SOCKET, _SO_INCOMING_NAPI_ID) and kernel() >= (6, 13):
            raise Unavailable(
                "the options were accepted, but an AF_XDP socket on a veth has no NAPI context to poll "
                "(SO_INCOMING_NAPI_ID is 0), so busy polling would do nothing",
                fix="none on veth from Linux 6.13 on: busy polling needs a NIC",
            )
    return "set SO_PREFER_BUSY_POLL, SO_BUSY_POLL and SO_BUSY_POLL_BUDGET on an AF_XDP socket on a veth"


def kernel() -> tuple[int, int]:
    """The version of the kernel that runs, such as (6, 12)."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release, re.ASCII)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def memlock() -> str:
    """The kernel pins as much memory as the probe's AF_XDP sockets use."""
    with socket.socket(AF_XDP, socket.SOCK_RAW) as sock:
        register_umem(sock, mmap.mmap(-1, _MEMLOCK_BYTES))
    return f"{_MEMLOCK_BYTES >> 20} MiB pinned for an AF_XDP socket"
