"""A program of the user's own as the DUT, as the topology's key `commands` has it: plain, or under any wrapper."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from labkit.backends import command_proof
from labkit.backends.base import Dut, Mode
from labkit.backends.command_proof import EXEC, Evidence
from labkit.backends.kernel import ECHO_PORT
from labkit.backends.onload_stacks import REQUIRES as ONLOAD
from labkit.backends.onload_stacks import alone_under_onload
from labkit.errors import ConfigInvalid, EnvironmentBroken, ToolFailed
from labkit.lab.commands import Command, expand
from labkit.lab.live import Lab, LivePort
from labkit.lab.topology import Topology
from labkit.machine import fix
from labkit.machine.guarded import GuardedProgram
from labkit.machine.hosts import Host
from labkit.measure.proof import Proof
from labkit.measure.trial import TrialResult


class CommandDut:
    """It runs."""

    def __init__(
        self, program: GuardedProgram, command: Command, evidence: Evidence, host: Host, argv: list[str]
    ) -> None:
        self._program = program
        self._command = command
        self._evidence = evidence
        self._host = host
        self._argv = argv
        self._answered = 0

    def proof(self) -> Proof:
        """What is read back of it now, and what ran."""
        self._program.check_alive()
        found = self._evidence.proof(self._answered)
        lacking = command_proof.missing_library(self._command, self._host, self._program)
        return Proof(
            proven=found.proven and not lacking,
            claim=f"{lacking}; {found.claim}" if lacking else found.claim,
            evidence={**found.evidence, "program": self._described()},
        )

    def _described(self) -> dict[str, object]:
        """Command line, environment, and checksums of the files in it: two programs of one name can be told apart."""
        words = [*self._argv, *([self._command.preload] if self._command.preload else [])]
        look = 'cd "$1"; shift; for word; do [ -f "$word" ] && sha256sum "$word"; done; true'
        done = subprocess.run(
            self._host.argv(["sh", "-c", look, "sh", self._command.directory, *words]),
            check=False,
            capture_output=True,
            text=True,
        )
        sums = {line[66:]: line[:64] for line in done.stdout.splitlines()}
        return {
            "argv": self._argv,
            "preload": self._command.preload,
            "environment": dict(self._command.environment),
            "sha256": sums,
        }

    def counters(self) -> Mapping[str, float]:
        """It has none that labkit knows."""
        return {}

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last lines, if it has ended."""
        self._program.check_alive()

    @property
    def worker_tid(self) -> int:
        """Its session: the gates judge where its threads may run, and count their time as the DUT's."""
        return -self._program.pid

    def count(self, trial: TrialResult) -> None:
        """A trial is over: what came back, its proof must account for."""
        self._answered += trial.received

    def wrong(self, trial: TrialResult) -> str:
        """Why a first few frames show that it does not answer; empty: they all came back as they were sent."""
        printed = f"; it printed: {self._program.output}"
        # One that has another tag, sequence or time, or none, was changed: nobody else sends here.
        if changed := trial.corrupt + trial.foreign + trial.stale:
            return (
                f"{self._program.called} answers wrongly: of {trial.sent} frames {trial.received} came back as they "
                f"were sent, and {changed} others{printed}"
            )
        if not trial.received:
            return f"{self._program.called} answers nothing: none of {trial.sent} frames came back{printed}"
        return ""


class CommandBackend:
    """Each command of the topology is a mode."""

    name = "command"
    description = "a program of your own, as the topology's key commands has it"
    own_mac = True
    leaves_traces = True
    """What it did to the DUT's interfaces (an XDP program, a bridge) may outlast it."""

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """One for each command."""
        checks = ("namespaces",) if topology.links[0].kind.has_interfaces else ()
        return tuple(
            Mode(
                name=command.name,
                description=f"{' '.join([*command.wrapper, *command.argv])}, which answers {command.answers}",
                requires=(*checks, *(ONLOAD if command.onload else ())),
                own_mac=command.answers != "frames",
                tcp="echo" if command.answers == "tcp" else "",
                always=True,
            )
            for command in topology.commands
        )

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Run it on the DUT's core until it is ready. Raises ToolFailed where it ends, hangs, or is not ready."""
        (command,) = (one for one in lab.topology.commands if one.name == mode.name)
        values = variables(lab, ip_version)
        host = lab.dut_ports[0].host
        _check_clean(lab)
        under = lab.topology.onload.wrapper if command.onload else ()
        folder = lab.output()
        output = None if folder is None else folder / f"{lab.topology.name}-{command.name}.log"
        called = f"the program {command.name} on {host.name}"
        with (
            alone_under_onload(host) if command.onload else nullcontext(),
            GuardedProgram(
                host, argv(command, values, under), called=called, output=output, awaited=command.ready.prints
            ) as program,
        ):
            evidence = command_proof.evidence(command, lab, program, values, ip_version=ip_version)
            _await_ready(program, command, evidence)
            if lacking := command_proof.missing_library(command, host, program):
                raise ToolFailed(f"{called}: {lacking}; it printed: {program.output}")
            evidence.begin()
            ran = [expand(word, values) for word in (*under, *command.wrapper, *command.argv)]
            yield CommandDut(program, command, evidence, host, ran)


def argv(command: Command, values: Mapping[str, str], under: Sequence[str] = ()) -> list[str]:
    """The whole command line: core, folder, variables, Onload (`under`), wrapper, what is preloaded, program."""
    own = {name: expand(value, values) for name, value in command.environment.items()}
    assigned = [f"{name}={value}" for name, value in {**own, **values}.items()]
    preload = ["env", f"LD_PRELOAD={command.preload}", *EXEC] if command.preload else []
    wrapper, program = ([expand(word, values) for word in words] for words in (command.wrapper, command.argv))
    start = ["taskset", "-c", values["LABKIT_CORE"], "env", "-C", command.directory, *assigned]
    return [*start, *under, *EXEC, *wrapper, *preload, *program]


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
        *(live.interface or "", port.mac, ip(port.ipv4), ip(port.ipv6)),
        *(str(live.link.mtu_bytes), live.vdev or ""),
        *(peer.mac, ip(peer.ipv4), ip(peer.ipv6)),
    )
    return dict(zip(names, values, strict=True))


def _check_clean(lab: Lab) -> None:
    """Raise EnvironmentBroken where an interface has an XDP program already, which would pass for the program's."""
    for port in lab.dut_ports:
        if port.interface is not None and command_proof.xdp_of(port) is not None:
            off = f"ip link set dev {port.interface}"
            raise EnvironmentBroken(
                f"{port.interface} of {port.host.name} has an XDP program already, of whoever was there before",
                hint=fix.as_root(f"{off} xdpdrv off; {off} xdpgeneric off")
                if lab.machines
                else fix.labkit("down"),
            )


def _await_ready(program: GuardedProgram, command: Command, evidence: Evidence) -> None:
    ready = command.ready
    if ready.prints:
        wanted = f"it has not printed {ready.prints!r}"
        program.await_ready(lambda: "" if program.printed else wanted, within_s=ready.within_s)
    elif ready.after_s is not None:
        program.await_for(ready.after_s)
    else:
        program.await_ready(evidence.lacks, within_s=ready.within_s)


BACKEND = CommandBackend()
