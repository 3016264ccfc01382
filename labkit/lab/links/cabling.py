"""Which port each cable leads to: the tester's ports announce themselves, the DUT's ports listen."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from labkit.errors import EnvironmentBroken
from labkit.lab.topology import Link, Port, Topology

ETHERTYPE = 0x88B5
"""For local experiments (IEEE Std 802-2014, 9.2.4)."""
COPIES = 3
"""The first frames after a link has come up may be lost."""
HEARD_S = 1.0
MORE_S = 0.05
"""After this time every port that a frame reaches has it, once one has."""
_BROADCAST = b"\xff" * 6


def announce(ports: Iterable[Port], lab: str) -> None:
    """Have each port send frames that carry its name and the lab's."""
    for port in ports:
        said = json.dumps({"lab": lab, "port": port.name}).encode()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((port.interface, 0))
            frame = (
                _BROADCAST + bytes.fromhex(port.mac.replace(":", "")) + ETHERTYPE.to_bytes(2, "big") + said
            )
            for _ in range(COPIES):
                sender.send(frame.ljust(60, b"\0"))  # the least that Ethernet takes, without FCS


class Listener:
    """Hears what is announced to some ports, from its making on."""

    def __init__(self, ports: Sequence[Port], lab: str) -> None:
        self._lab = lab
        self._sockets: dict[str, socket.socket] = {}
        for port in ports:
            one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._sockets[port.name] = one
            one.bind((port.interface, ETHERTYPE))

    def heard(self, wait_s: float = HEARD_S) -> dict[str, list[str]]:
        """By port, the names of the ports that were heard at it; waits until each port has heard one."""
        found: dict[str, set[str]] = {name: set() for name in self._sockets}
        end = time.monotonic() + wait_s
        while not all(found.values()) and time.monotonic() < end:
            select.select(list(self._sockets.values()), [], [], max(end - time.monotonic(), 0))
            self._read(found)
        time.sleep(MORE_S)
        self._read(found)
        return {name: sorted(ports) for name, ports in found.items()}

    def _read(self, found: Mapping[str, set[str]]) -> None:
        for name, one in self._sockets.items():
            while True:
                try:
                    frame = one.recv(2048)
                except BlockingIOError:
                    break
                try:
                    said = json.loads(frame[14:].rstrip(b"\0"))
                except ValueError:
                    continue  # somebody else's
                if isinstance(said, dict) and said.get("lab") == self._lab:
                    found[name].add(str(said.get("port")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets.values():
            one.close()


def check(topology: Topology, links: Sequence[Link], heard: Mapping[str, Sequence[str]]) -> None:
    """Raise EnvironmentBroken unless each cable leads where the topology says.

    `links` are its links, with the interfaces that were found; `heard`: by port of the DUT, the tester's ports.
    """
    tester, dut = topology.hosts["tester"], topology.hosts["dut"]
    interfaces = {link.dut.name: link.dut.interface for link in links}
    wrong, silent = [], []
    for link in links:
        sender, expected = f"{link.tester.interface} of {tester}", f"{link.dut.interface} of {dut}"
        if link.tester.name in heard.get(link.dut.name, ()):
            continue
        reached = [interfaces[port] for port, names in heard.items() if link.tester.name in names]
        if reached:
            wrong.append(
                f"{sender} leads to {' and '.join(reached)} of {dut}, not to {expected} (link {link.name})"
            )
        else:
            silent.append(f"{sender} to {expected} (link {link.name})")
    if wrong:
        raise EnvironmentBroken(
            f"the cables are not as {topology.source} says: {'; '.join(wrong)}",
            hint="plug them as the file says, or swap the ports in it",
        )
    if silent:
        raise EnvironmentBroken(
            f"no frame came from {'; '.join(silent)}",
            hint="check that one cable connects them: a switch between them may block a port for 30 s after it came up",
        )
