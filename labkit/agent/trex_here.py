"""TRex on this machine, for a controller elsewhere: its server as a unit, and what its client is started of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from labkit.doctor import vfio
from labkit.doctor.model import Unavailable
from labkit.errors import EnvironmentBroken
from labkit.lab.topology import Port
from labkit.machine import hugepages, trex_service
from labkit.machine.journal import Journal
from labkit.machine.pci_driver import unsafe
from labkit.machine.trex_service import ServerPort
from labkit.testers.trex.environment import WORKER, client_python

CHECKS = ("trex_server", "trex_nics")
"""Ids of checks that ask for it, as those of the doctor's."""


def findings(checks: Collection[str]) -> list[dict[str, Any]]:
    """As the doctor's. trex_server: a server is installed as a unit, and its client can be run (it is installed now).

    trex_nics: it could drive NICs by DPDK.
    """
    found = []
    for name, attempt in zip(CHECKS, (_server, _nics), strict=True):
        if name in checks:
            error, fix = None, None
            try:
                attempt()
            except EnvironmentBroken as why:
                error, fix = why.message, why.hint
            except Unavailable as why:
                error, fix = str(why), why.fix or vfio.fix()
            found.append({"id": name, "ok": error is None, "detail": "", "error": error, "fix": fix})
    return found


def _server() -> None:
    trex_service.folder()
    client_python()


def _nics() -> None:
    vfio.vfio_pci()
    if unsafe():
        raise Unavailable("vfio does without an IOMMU here (noiommu), for which TRex's unit has no right")
    if not hugepages.pool().size_bytes:
        raise Unavailable("this kernel has no hugepages", fix="none on this kernel")


class TrexHere:
    """The server of a lab's ports here; none at first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lab: str | None = None
        self._pid = 0

    def start(
        self, ports: Sequence[Port], *, by_pci: bool, core: int, taken: Collection[int], lab: str
    ) -> dict[str, Any]:
        """Start it; what the controller needs to know of it, and of its client. Raises as `trex_service.start`."""
        client = client_python()
        self._lab = lab
        given = [
            ServerPort(pci=port.pci) if by_pci else ServerPort(interface=port.interface) for port in ports
        ]
        running = trex_service.start(given, core=core, taken=taken, journal=self._journal, lab=lab)
        self._pid = running.pid
        inside = ["nsenter", f"--net=/proc/{running.pid}/ns/net", "--"] if running.own_network else []
        return {**asdict(running), "client": [*inside, client, "-I", str(WORKER)]}

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last lines, if it has ended."""
        trex_service.check_alive(self._pid)

    def stop(self) -> None:
        """End it. Does nothing where none runs. Raises EnvironmentBroken."""
        lab, self._lab = self._lab, None
        if lab is not None:
            trex_service.stop(journal=self._journal, lab=lab)
