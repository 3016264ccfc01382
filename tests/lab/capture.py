"""Frames as they arrive at the DUT's first port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from labkit.lab.live import Lab
from labkit.machine.namespaces import inside

OUTGOING = 4  # PACKET_OUTGOING


def _is_udp(frame: bytes) -> bool:
    """Not what the tester's kernel sends of its own accord (multicast listeners)."""
    return (frame[12:14], frame[23]) == (b"\x08\x00", 17) or (frame[12:14], frame[20]) == (b"\x86\xdd", 17)


def captured(lab: Lab, send: Callable[[], object]) -> list[bytes]:
    """UDP that arrives at the DUT meanwhile."""
    frames: list[bytes] = []
    over = threading.Event()
    port = lab.dut_ports[0]
    with inside(port.host.pid), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as packets:  # type: ignore[attr-defined]
        packets.bind((port.interface, 0))
        packets.settimeout(0.1)

        def read() -> None:
            while not over.is_set():
                try:
                    frame, address = packets.recvfrom(65535)
                except TimeoutError:
                    continue
                if address[2] != OUTGOING and _is_udp(frame):
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
