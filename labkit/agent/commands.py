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
from labkit.agent import ports_here, trex_here
from labkit.agent.lab_here import LabHere
from labkit.agent.trex_here import TrexHere
from labkit.doctor.host.protected_interfaces import check_unprotected
from labkit.errors import EnvironmentBroken, LabkitError
from labkit.lab import cores as lab_cores
from labkit.lab.topology import ROLES, Role, Topology
from labkit.lab.topology_file import parse
from labkit.machine import lock, sources
from labkit.machine.cores import pin
from labkit.machine.journal import Journal
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
        "bind_vfio",
        "unbind_vfio",
        "start_trex",
        "check_trex",
        "stop_trex",
        "keep",
        "take_down",
        "await_carrier",
        "announce",
        "heard",
        "read",
        "environment",
        "revert",
    )

    def __init__(self) -> None:
        self._reserved = ExitStack()
        self._allowed = sorted(os.sched_getaffinity(0))
        self._listening = ExitStack()
        self._listener: Listener | None = None
        self._journal = Journal(state_directory())
        self._here = LabHere(self._journal)
        self._trex = TrexHere(self._journal)
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

    def findings(
        self, checks: Sequence[str], mtu_bytes: int, role: Role, text: str, source: str
    ) -> list[dict[str, Any]]:
        """The doctor's findings of these checks; those that depend on a NIC are tried on the role's ports."""
        own = [name for name in checks if name in ports_here.CHECKS]
        names = [name for name in checks if name not in (*own, *trex_here.CHECKS)]
        if own:
            try:
                found = self.find(role, text, source)
            except LabkitError:  # the same is reported when the lab is brought up
                found = []
            tried = ports_here.findings(own, [port["interface"] for port in found])
            names += [name for name in own if name not in tried]
        else:
            tried = {}
        found_here = doctor.as_json(doctor.run(names, mtu_bytes=mtu_bytes)) if names else ()
        return [*found_here, *tried.values(), *trex_here.findings(checks)]

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

    def find(self, role: Role, text: str, source: str, lab: str | None = None) -> list[dict[str, Any]]:
        """The role's ports, as they are found here. None is an interface that the way to this host needs.

        `lab`: for which ports that are bound to vfio-pci become interfaces.
        """
        from labkit.lab.links import nic

        ports = [link.ends(role)[0] for link in _topology(text, source).links]
        if lab is not None:
            self._here.to_kernel(ports, lab=lab)
        found = [nic.find(port) for port in ports]
        for port in found:
            check_unprotected(port.interface)
        return [{"interface": port.interface, "mac": port.mac, "pci": port.pci} for port in found]

    def wire(
        self, role: Role, text: str, source: str, lab: str, ports: Mapping[Role, Sequence[Mapping[str, str]]]
    ) -> dict[str, Any]:
        """Set the role's ends up; `ports` are those that `find` returned, of both roles."""
        self._here.wire(role, _topology(text, source), ports, lab=lab)
        return {}

    def attach(
        self, role: Role, text: str, source: str, lab: str, ports: Mapping[Role, Sequence[Mapping[str, str]]]
    ) -> dict[str, Any]:
        """Use the role's ends of a lab that is up, which stays; "up": whether it is."""
        return {"up": self._here.attach(role, _topology(text, source), ports, lab=lab)}

    def bind_vfio(self, roles: Sequence[Role], memory_bytes: int) -> dict[str, str]:
        """Bind the ports of these roles to vfio-pci until `unbind_vfio`: see `LabHere.bind_vfio`."""
        return self._here.bind_vfio(roles, memory_bytes=memory_bytes)

    def unbind_vfio(self) -> dict[str, Any]:
        """Give the kernel the ports back."""
        self._here.unbind_vfio()
        return {}

    def start_trex(self, role: Role, core: int, taken: Sequence[int]) -> dict[str, Any]:
        """Have a TRex server run on the role's ports, until `stop_trex`: see `TrexHere.start`."""
        return self._trex.start(
            self._here.ports(role),
            by_pci=self._here.is_on_vfio(role),
            core=core,
            taken=taken,
            lab=self._here.lab,
        )

    def check_trex(self) -> dict[str, Any]:
        """It runs; raises ToolFailed if it does not."""
        self._trex.check_alive()
        return {}

    def stop_trex(self) -> dict[str, Any]:
        """End it."""
        self._trex.stop()
        return {}

    def keep(self, record: Mapping[str, Any] | None) -> dict[str, Any]:
        """Have the lab stay up here when the connection ends. None: this machine has the record already."""
        if record is not None:
            self._journal.lab_is_up(self._here.lab, record)
        self._here.leave()
        self._reserved.close()
        return {}

    def take_down(self, lab: str, force: bool) -> list[dict[str, Any]]:
        """Undo what was changed for a lab that stayed up: each change, and why it was left if it was.

        Unless forced, raises Busy if somebody measures here.
        """
        with nullcontext() if force else lock.measuring(wait_s=0.0):
            return [asdict(one) for one in down(lab=lab, journal=self._journal, force=True)]

    def await_carrier(self, role: Role, listen: bool = False) -> dict[str, Any]:
        """Wait for the links of the role's ports. Returns what is read back of each port, by name.

        `listen`: from then on, listen at them to what the other role's announce, until `heard`.
        """
        from labkit.lab.links import nic
        from labkit.lab.links.cabling import Listener

        ports = self._here.ports(role)
        for port in ports:
            nic.wait_for_carrier(port.interface)
        if listen:
            self._listener = self._listening.enter_context(Listener(ports, self._here.lab))
        return {port.name: nic.read_back(port) for port in ports}

    def announce(self, role: Role) -> dict[str, Any]:
        """Have the role's ports announce themselves."""
        from labkit.lab.links.cabling import announce

        announce(self._here.ports(role), self._here.lab)
        return {}

    def heard(self) -> dict[str, list[str]]:
        """By port, the names of those that were heard there; then no port listens any more."""
        with self._listening:
            return {} if self._listener is None else self._listener.heard()

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
            try:
                self._trex.stop()
            finally:
                self._here.revert()
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
