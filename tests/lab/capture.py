"""Frames as they arrive at the DUT's first port."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

from labkit.lab.live import Lab
from labkit.machine.namespaces import inside
from labkit.testers.capture import ICMP, ICMP6, TCP, UDP, ip_header

OUTGOING = 4  # PACKET_OUTGOING
SOL_PACKET, PACKET_AUXDATA = 263, 8
AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, length, captured length, MAC header, network header, VLAN's control and protocol."""
VLAN_VALID = 1 << 4
SO_RCVBUFFORCE, BUFFER_BYTES = 33, 8 << 20
ECHO_REQUESTS = {ICMP: 8, ICMP6: 128}


def _is_a_testers(frame: bytes) -> bool:
    """Not what the tester's kernel sends of its own accord (multicast listeners)."""
    ip, version, protocol = ip_header(frame)
    l4 = ip + (20 if version == 4 else 40)
    return protocol in (TCP, UDP) or (protocol in ECHO_REQUESTS and frame[l4] == ECHO_REQUESTS[protocol])


def _next(packets: socket.socket) -> tuple[bytes, int]:
    """A frame as it came, with the VLAN tag that the kernel took off, and its packet type."""
    frame, ancillary, _, address = packets.recvmsg(65535, socket.CMSG_SPACE(AUXDATA.size))
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, control, protocol = AUXDATA.unpack(data[: AUXDATA.size])
            if status & VLAN_VALID:
                frame = frame[:12] + struct.pack("!HH", protocol, control) + frame[12:]
    return frame, address[2]


def captured(lab: Lab, send: Callable[[], object]) -> list[bytes]:
    """A tester's frames that arrive at the DUT meanwhile."""
    frames: list[bytes] = []
    over = threading.Event()
    port = lab.dut_ports[0]
    with inside(port.host.pid), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as packets:  # type: ignore[attr-defined]
        packets.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        # A frame that was made in the kernel takes a whole page of it.
        packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        packets.bind((port.interface, 0))
        packets.settimeout(0.1)

        def read() -> None:
            while not over.is_set():
                try:
                    frame, kind = _next(packets)
                except TimeoutError:
                    continue
                if kind != OUTGOING and _is_a_testers(frame):
                    frames.append(frame)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            send()
            time.sleep(0.3)
        finally:
            over.set()
            reader.join()
    return frames
