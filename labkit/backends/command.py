"""A program of the user's own as the DUT, as the topology's key `commands` has it: plain, or under any wrapper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from labkit.backends import command_proof
from labkit.backends.base import Dut, Mode
from labkit.backends.command_proof import Evidence
from labkit.backends.kernel import ECHO_PORT
from labkit.errors import ConfigInvalid, ToolFailed
from labkit.lab.commands import Command, expand
from labkit.lab.live import Lab, LivePort
from labkit.lab.topology import Topology
from labkit.machine.guarded import GuardedProgram
from labkit.measure.proof import Proof
from labkit.measure.trial import TrialResult


class CommandDut:
    """It runs."""

    def __init__(self, program: GuardedProgram, command: Command, evidence: Evidence) -> None:
        self._program = program
        self._command = command
        self._evidence = evidence

    def proof(self) -> Proof:
        """What is read back of it now."""
        self._program.check_alive()
        found = self._evidence.proof()
        argv = [*self._command.wrapper, *self._command.argv]
        return Proof(proven=found.proven, claim=found.claim, evidence={**found.evidence, "argv": argv})

    def counters(self) -> Mapping[str, float]:
        """It has none that labkit knows."""
        return {}

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last lines, if it has ended."""
        self._program.check_alive()

    def check_answers(self, trial: TrialResult) -> None:
        """Raise ToolFailed where a first few frames did not come back as they were sent."""
        called, printed = self._program.called, f"; it printed: {self._program.output}"
        # One that has another tag, sequence or time, or none, was changed: nobody else sends here.
        if changed := trial.corrupt + trial.foreign + trial.stale:
            raise ToolFailed(
                f"{called} answers wrongly: of {trial.sent} frames {trial.received} came back as they were sent, and "
                f"{changed} others{printed}"
            )
        if not trial.received:
            raise ToolFailed(f"{called} answers nothing: none of {trial.sent} frames came back{printed}")


class CommandBackend:
    """Each command of the topology is a mode."""

    name = "command"
    description = "a program of your own, as the topology's key commands has it"
    own_mac = True

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """One for each command."""
        checks = ("namespaces",) if topology.links[0].kind.has_interfaces else ()
        return tuple(
            Mode(
                name=command.name,
                description=f"{' '.join([*command.wrapper, *command.argv])}, which answers {command.answers}",
                requires=checks,
                own_mac=command.answers == "udp",
                always=True,
            )
            for command in topology.commands
        )

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Run it on the DUT's core until it is ready. Raises ToolFailed where it ends, hangs, or is not ready."""
        (command,) = (one for one in lab.topology.commands if one.name == mode.name)
        values = variables(lab, ip_version)
        called = f"the program {command.name} on {lab.dut_ports[0].host.name}"
        folder = lab.output()
        output = None if folder is None else folder / f"{lab.topology.name}-{command.name}.log"
        with GuardedProgram(
            lab.dut_ports[0].host, argv(command, values), called=called, output=output
        ) as program:
            evidence = command_proof.evidence(command, lab, program.session, values, ip_version=ip_version)
            _await_ready(program, command, evidence)
            evidence.begin()
            yield CommandDut(program, command, evidence)


def argv(command: Command, values: Mapping[str, str]) -> list[str]:
    """The whole command line: variables, core, wrapper, program."""
    environment = {**command.environment, **values}
    if command.preload:
        environment["LD_PRELOAD"] = command.preload
    words = [expand(word, values) for word in (*command.wrapper, *command.argv)]
    # The variables come last: what is preloaded is for the program, not for what starts it.
    start = ["taskset", "-c", values["LABKIT_CORE"], "env", "-C", command.directory]
    return [*start, *(f"{k}={v}" for k, v in environment.items()), *words]


def variables(lab: Lab, ip_version: int) -> dict[str, str]:
    """What its environment says of the lab; empty where there is nothing to say. Raises ConfigInvalid: no address."""
    port = lab.dut_ports[0].port
    address = port.ipv6 if ip_version == 6 else port.ipv4
    if address is None:
        raise ConfigInvalid(f"{lab.topology.source}: port {port.name} has no IPv{ip_version} address")
    found = {
        "LABKIT_ADDRESS": str(address.ip),
        "LABKIT_PORT": str(ECHO_PORT),
        "LABKIT_CORE": str(lab.cores.dut),
        "LABKIT_IP_VERSION": str(ip_version),
    }
    for suffix, live in zip(("", "_2"), (*lab.dut_ports, None), strict=False):
        found |= {f"LABKIT_{name}{suffix}": value for name, value in _of_port(live).items()}
    return found


def _of_port(live: LivePort | None) -> dict[str, str]:
    names = ("INTERFACE", "MAC", "IPV4", "IPV6", "MTU", "VDEV", "PEER_MAC", "PEER_IPV4", "PEER_IPV6")
    if live is None:
        return dict.fromkeys(names, "")
    port, peer = live.port, live.peer

    def ip(given: object) -> str:
        return str(getattr(given, "ip", "") or "")

    values = (
        *(
            live.interface or "",
            port.mac,
            ip(port.ipv4),
            ip(port.ipv6),
            str(live.link.mtu_bytes),
            live.vdev or "",
        ),
        *(peer.mac, ip(peer.ipv4), ip(peer.ipv6)),
    )
    return dict(zip(names, values, strict=True))


def _await_ready(program: GuardedProgram, command: Command, evidence: Evidence) -> None:
    ready = command.ready
    if ready.prints:
        program.await_ready(lambda: program.printed(ready.prints), within_s=ready.within_s)
    elif ready.after_s is not None:
        program.await_for(ready.after_s)
    else:
        program.await_ready(evidence.holds, within_s=ready.within_s)


BACKEND = CommandBackend()
