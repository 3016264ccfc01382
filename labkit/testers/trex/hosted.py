"""A TRex server on the tester's machine of a lab on NICs: a unit there, started and ended by labkit's agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from labkit.errors import LabkitError
from labkit.lab.live import Lab
from labkit.lab.machines import Machine

START_TIMEOUT_S = 240.0
"""Its unit has two minutes; and its client may have to be installed."""


class HostedServer:
    """One that runs."""

    def __init__(self, machine: Machine, started: Mapping[str, Any]) -> None:
        self._machine = machine
        self.client: list[str] = started["client"]
        """The command that runs its client there."""
        self.rpc_port: int = started["rpc_port"]
        self.publisher_port: int = started["publisher_port"]
        self.worker_tid: int = started["tid"]
        self.mode: str = started["mode"]

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last lines, if it has ended."""
        self._machine.ask("check_trex")


@contextmanager
def on_its_machine(lab: Lab) -> Iterator[HostedServer]:
    """Start it on the lab's tester ports, for the time of the context. Raises EnvironmentBroken or ToolFailed."""
    machine, dut = lab.machines["tester"], lab.machines["dut"]
    taken = [lab.cores.dut] if dut.kernel == machine.kernel else []
    started = machine.ask(
        "start_trex", role="tester", core=lab.cores.tester, taken=taken, timeout_s=START_TIMEOUT_S
    )
    try:
        yield HostedServer(machine, started)
    except BaseException:
        with suppress(LabkitError):  # what happened first is to be known; the agent ends it at the latest
            _stop(machine)
        raise
    _stop(machine)


def _stop(machine: Machine) -> None:
    if machine.connected:  # else the agent there does it
        machine.ask("stop_trex", timeout_s=START_TIMEOUT_S)
