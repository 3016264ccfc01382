"""The commands of the agent. Each takes and returns JSON values."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import labkit
from labkit import doctor
from labkit.doctor.host.protected_interfaces import check_unprotected
from labkit.errors import EnvironmentBroken, LabkitBug
from labkit.lab import cores as lab_cores
from labkit.lab.topology import ROLES, Port, Role, Topology
from labkit.lab.topology_file import parse
from labkit.machine import fix, lock, sources
from labkit.machine.cores import pin
from labkit.machine.journal import Journal, this_boot
from labkit.machine.privilege import capable, state_directory
from labkit.machine.process import boot_id, network_namespace
from labkit.machine.undo import down
from labkit.probe.build import built_executables
from labkit.record import environment, readings
from labkit.record.codec import encode

if TYPE_CHECKING:
    from labkit.lab.links.cabling import Listener


class Commands:
    """What one controller has asked for; leaving the context reverts it."""

    NAMES: ClassVar = (
        "hello",
        "alive",
        "findings",
        "cores",
        "reserve",
        "find",
        "wire",
        "attach",
        "keep",
        "take_down",
        "await_carrier",
        "listen",
        "announce",
        "heard",
        "read",
        "environment",
        "revert",
    )

    def __init__(self) -> None:
        self._reserved = ExitStack()
        self._lab: str | None = None
        self._allowed = sorted(os.sched_getaffinity(0))
        self._ports: dict[Role, list[Port]] = {}
        self._listening = ExitStack()
        self._listener: Listener | None = None
        self._journal = Journal(state_directory())
        self.lost_after_s: float | None = None
        """A controller from which nothing came for so long is lost; None: its input ends when it does."""

    def hello(self, lost_after_s: float | None = None) -> dict[str, Any]:
        """Who answers: labkit's version and a hash of its files, and the probe's executables by engine."""
        self.lost_after_s = lost_after_s
        if not capable():
            raise EnvironmentBroken(
                "labkit needs root there: neither the login nor sudo gives it",
                hint="allow sudo without a password",
            )
        return {
            "labkit": labkit.__version__,
            "sources": sources.digest(),
            "python": platform.python_version(),
            "root": "SUDO_UID" not in os.environ,
            "machine": boot_id(),
            "network": network_namespace(),
            "executables": {
                name.removeprefix("labkit-probe-"): str(path) for name, path in built_executables().items()
            },
        }

    def alive(self) -> dict[str, Any]:
        """The controller is there."""
        return {}

    def findings(self, checks: Sequence[str], mtu_bytes: int) -> list[dict[str, Any]]:
        """The doctor's findings of these checks."""
        return doctor.as_json(doctor.run(checks, mtu_bytes=mtu_bytes) if checks else ())

    def cores(self, asked: Mapping[str, int | None]) -> dict[str, Any]:
        """A core for each role that is here, of those asked for; this process keeps off them."""
        pin(os.getpid(), self._allowed)  # it kept off those of the lab before
        if len(asked) == len(ROLES):
            found = lab_cores.choose_for(asked["tester"], asked["dut"])
            chosen = {"tester": found.tester, "dut": found.dut}
            rest, shared = found.controller, found.shared
        else:
            ((role, wanted),) = asked.items()
            core, rest = lab_cores.choose_one(wanted)
            chosen, shared = {role: core}, () if core not in rest else (core,)
        pin(os.getpid(), rest)
        return {"chosen": chosen, "controller": list(rest), "shared": list(shared)}

    def reserve(self, wait_s: float | None) -> dict[str, Any]:
        """Hold this machine until `revert`, or the end."""
        self._reserved.enter_context(lock.measuring(wait_s=wait_s))
        return {}

    def find(self, role: Role, text: str, source: str) -> list[dict[str, Any]]:
        """The role's ports, as they are found here. None is an interface that the way to this host needs."""
        from labkit.lab.links import nic

        found = [nic.find(link.ends(role)[0]) for link in _topology(text, source).links]
        for port in found:
            check_unprotected(port.interface)
        return [{"interface": port.interface, "mac": port.mac, "pci": port.pci} for port in found]

    def wire(
        self, role: Role, text: str, source: str, lab: str, ports: Mapping[Role, Sequence[Mapping[str, str]]]
    ) -> dict[str, Any]:
        """Set the role's ends up; `ports` are those that `find` returned, of both roles."""
        from labkit.lab.links import nic

        self._lab = lab
        topology = _topology(text, source)
        links = nic.with_ports(topology.links, ports)
        forwards = role == "dut" and topology.forwards and "kernel" in topology.backends
        nic.wire(role, links, forwards=forwards, journal=self._journal, lab=lab)
        self._ports[role] = [link.ends(role)[0] for link in links]
        return {}

    def attach(
        self, role: Role, text: str, source: str, lab: str, ports: Mapping[Role, Sequence[Mapping[str, str]]]
    ) -> dict[str, Any]:
        """Use the role's ends of a lab that is up, which stays; "up": whether it is."""
        from labkit.lab.links import nic

        links = nic.with_ports(_topology(text, source).links, ports)
        self._ports[role] = [link.ends(role)[0] for link in links]
        entries = self._journal.read().entries
        return {"up": any(entry.lab == lab and this_boot(entry) for entry in entries)}

    def keep(self, record: Mapping[str, Any] | None) -> dict[str, Any]:
        """Have the lab stay up here when the connection ends. None: this machine has the record already."""
        if record is not None:
            self._journal.lab_is_up(self._named_lab(), record)
        self._lab = None
        self._reserved.close()
        return {}

    def take_down(self, lab: str, force: bool) -> list[dict[str, Any]]:
        """Undo what was changed for a lab that stayed up: each change, and why it was left if it was.

        Unless forced, raises Busy if somebody measures here.
        """
        with nullcontext() if force else lock.measuring(wait_s=0.0):
            return [asdict(one) for one in down(lab=lab, journal=self._journal, force=True)]

    def await_carrier(self, role: Role) -> dict[str, Any]:
        """Wait for the links of the role's ports. Returns what is read back of each port, by name."""
        from labkit.lab.links import nic

        for port in self._ports[role]:
            nic.wait_for_carrier(port.interface)
        return {port.name: nic.read_back(port) for port in self._ports[role]}

    def listen(self, role: Role) -> dict[str, Any]:
        """Listen at the role's ports to what the other role's announce."""
        from labkit.lab.links.cabling import Listener

        self._listener = self._listening.enter_context(Listener(self._ports[role], self._named_lab()))
        return {}

    def announce(self, role: Role) -> dict[str, Any]:
        """Have the role's ports announce themselves."""
        from labkit.lab.links.cabling import announce

        announce(self._ports[role], self._named_lab())
        return {}

    def heard(self) -> dict[str, list[str]]:
        """By port, the names of those that were heard there; then no port listens any more."""
        with self._listening:
            return {} if self._listener is None else self._listener.heard()

    def _named_lab(self) -> str:
        if self._lab is None:
            raise LabkitBug("there is no lab on these ports")
        return self._lab

    def read(self, workers: Mapping[str, Sequence[int]], interfaces: Sequence[str]) -> Any:  # noqa: ANN401 (JSON)
        """What the gates judge: see `record.readings`."""
        threads = {role: (tid, core) for role, (tid, core) in workers.items()}
        return readings.as_json(readings.read(threads, interfaces))

    def environment(self) -> Any:  # noqa: ANN401 (a JSON value)
        """What this machine is."""
        return encode(environment.collect(tools=built_executables()))

    def revert(self) -> dict[str, Any]:
        """Undo what was changed for the lab, and let the machine go."""
        self._listening.close()
        try:
            if self._lab is not None:
                left = [
                    one.left for one in down(lab=self._lab, journal=self._journal, force=True) if one.left
                ]
                self._lab = None
                if left:
                    raise EnvironmentBroken("; ".join(left), hint=fix.labkit("down"))
        finally:
            self._reserved.close()
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.revert()


def _topology(text: str, source: str) -> Topology:
    return parse(text, Path(source), alone=True)
