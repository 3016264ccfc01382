"""What is read back of a program of the user's own: which sockets it has, and that traffic went through them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Protocol

from labkit.backends import onload_proof
from labkit.backends.kernel import ECHO_PORT
from labkit.backends.onload_proof import OnloadReading
from labkit.errors import EnvironmentBroken
from labkit.lab.commands import PROGRAM, Command, expand
from labkit.lab.live import Lab, LivePort
from labkit.machine import reading
from labkit.machine.guarded import MARK, GuardedProgram
from labkit.machine.hosts import Host
from labkit.measure.proof import Proof

# The sockets and libraries of all processes that have the program's mark.
_LOOK = f"""
for pid in $(grep -lsz "^{MARK}=$1\\$" /proc/[0-9]*/environ | cut -d/ -f3); do
    readlink "/proc/$pid/fd/"* 2>/dev/null
    sed -n 's,^[^/]*\\(/.*\\)$,maps \\1,p' "/proc/$pid/maps" 2>/dev/null | sort -u
done
"""
EXEC = ("sh", "-c", 'exec "$@"', "sh")
"""Runs what follows: env(1) would take a path with an equals sign for a variable."""
_INODE = re.compile(r"socket:\[(\d+)\]")
OWN_PROOF_S = 30.0
NEARLY_ALL = 0.99
"""Of the frames that came back, the kernel must have counted so many datagrams: it counts other traffic, too."""


class Evidence(Protocol):
    """How a program is proven."""

    def lacks(self) -> str:
        """What it lacks of what the proof asks for, before any traffic; empty: nothing."""
        ...

    def begin(self) -> None:
        """Note the counters that traffic will move."""
        ...

    def proof(self, answered: int) -> Proof:
        """After traffic, of which so many frames came back."""
        ...


def evidence(
    command: Command, lab: Lab, program: GuardedProgram, values: Mapping[str, str], *, ip_version: int
) -> Evidence:
    """That of a command that runs on the DUT's host."""
    if command.proof_argv:
        return _OwnCommand(command, lab.dut_ports[0].host, program, values)
    if command.proof == "xdp":
        return _XdpProgram(lab.dut_ports)
    if command.proof == "onload":
        return _Onload(lab.dut_ports[0], program, command.answers)
    if command.proof == "packet_socket":
        return _PacketSocket(lab.dut_ports, program)
    if command.proof == "tcp_socket":
        return _TcpSocket(lab.dut_ports[0], program, ip_version)
    return _UdpSocket(lab.dut_ports[0], program, ip_version)


def _look(host: Host, program: GuardedProgram, *paths: str) -> tuple[set[str], set[str], list[str]]:
    """Inodes of the program's sockets, paths of what it has mapped, and the text of these files."""
    commands = [_LOOK, *map(reading.file, paths)]
    own, *texts = reading.outputs(host, commands, program.mark, what="the sockets")
    mapped = {line.removeprefix("maps ") for line in own.splitlines() if line.startswith("maps ")}
    return set(_INODE.findall(own)), mapped, texts


def missing_library(command: Command, host: Host, program: GuardedProgram) -> str:
    """Why its preloaded library does nothing; empty: it is loaded, or none was asked for. ld.so goes on without one."""
    if not command.preload:
        return ""
    _, mapped, _ = _look(host, program)
    real = subprocess.run(
        host.argv(["readlink", "-f", command.preload]), check=False, capture_output=True, text=True
    ).stdout.strip()
    if {command.preload, real} & mapped:
        return ""
    return f"{command.preload} is not loaded into it (preload)"


class _Address:
    """The DUT's address of an IP version, at the port of the echo."""

    def __init__(self, port: LivePort, ip_version: int) -> None:
        own = port.port.ipv6 if ip_version == 6 else port.port.ipv4
        self.ip = own.ip if own is not None else None

    def covers(self, address: str, port: int) -> bool:
        """Whether a socket bound so gets what is sent there."""
        found = ip_address(address)
        mapped = getattr(found, "ipv4_mapped", None)
        return port == ECHO_PORT and (found.is_unspecified or self.ip in (found, mapped))


class _UdpSocket:
    """A UDP socket of the kernel's at the lab's address and port, and the kernel's count of datagrams in and out."""

    def __init__(self, port: LivePort, program: GuardedProgram, ip_version: int) -> None:
        self._port, self._program, self._ip_version = port, program, ip_version
        self._address = _Address(port, ip_version)
        self._before = (0, 0)

    def _read(self) -> tuple[list[str], tuple[int, int]]:
        """The local addresses of its sockets that get the lab's datagrams, and datagrams in and out."""
        paths = ("/proc/net/udp", "/proc/net/udp6", "/proc/net/snmp", "/proc/net/snmp6")
        inodes, _, (udp, udp6, snmp, snmp6) = _look(self._port.host, self._program, *paths)
        rows = [line.split() for text in (udp, udp6) for line in text.splitlines()[1:]]
        own = [_local(row[1]) for row in rows if row[9] in inodes]
        fitting = [f"{address} port {port}" for address, port in own if self._address.covers(address, port)]
        return fitting, _udp6(snmp6) if self._ip_version == 6 else _udp(snmp)

    def lacks(self) -> str:
        return "" if self._read()[0] else f"it has no UDP socket at {self._address.ip}, port {ECHO_PORT}"

    def begin(self) -> None:
        self._before = self._read()[1]

    def proof(self, answered: int) -> Proof:
        own, now = self._read()
        received, sent = (late - early for late, early in zip(now, self._before, strict=True))
        return Proof(
            proven=bool(own) and min(received, sent) >= max(NEARLY_ALL * answered, 1),
            claim=f"{'a' if own else 'no'} UDP socket of the kernel's at port {ECHO_PORT} is the program's; the kernel "
            f"counted {received} datagrams in and {sent} out, of {answered} frames that came back",
            evidence={"sockets": own, "in_datagrams": received, "out_datagrams": sent, "answered": answered},
        )


class _Onload:
    """Sockets under Onload, in a stack that received and sent; see `onload_proof`."""

    _PIDS = f'$(grep -lsz "^{MARK}=$1\\$" /proc/[0-9]*/environ | cut -d/ -f3)'

    def __init__(self, port: LivePort, program: GuardedProgram, kind: str) -> None:
        self._port, self._program, self._kind = port, program, kind
        self._before: OnloadReading | None = None

    def _read(self) -> OnloadReading:
        return onload_proof.read(self._port.host, self._PIDS, self._program.mark)

    def lacks(self) -> str:
        return "" if self._read().kinds.get(self._kind) else f"it has no {self._kind} socket under Onload"

    def begin(self) -> None:
        self._before = self._read()

    def proof(self, answered: int) -> Proof:
        after = self._read()
        before = self._before or after
        proven, claim = onload_proof.judge(
            before, after, kinds=(self._kind,), received=answered, port=ECHO_PORT
        )
        return Proof(
            proven=proven and answered > 0,
            claim=claim,
            evidence={**after.facts, "answered": answered},
        )


_ESTABLISHED, _LISTENING = "01", "0A"


class _TcpSocket:
    """TCP sockets of the kernel's at the lab's address and port: one that listens, and with traffic connections."""

    def __init__(self, port: LivePort, program: GuardedProgram, ip_version: int) -> None:
        self._port, self._program = port, program
        self._address = _Address(port, ip_version)
        self._before = (0, 0)

    def _read(self) -> tuple[dict[str, int], tuple[int, int]]:
        """Its sockets there by state, and segments in and out that the kernel counted."""
        paths = ("/proc/net/tcp", "/proc/net/tcp6", "/proc/net/snmp")
        inodes, _, (tcp, tcp6, snmp) = _look(self._port.host, self._program, *paths)
        rows = [line.split() for text in (tcp, tcp6) for line in text.splitlines()[1:]]
        own = [row for row in rows if row[9] in inodes and self._address.covers(*_local(row[1]))]
        return {state: sum(row[3] == state for row in own) for state in (_ESTABLISHED, _LISTENING)}, _tcp(
            snmp
        )

    def lacks(self) -> str:
        if self._read()[0][_LISTENING]:
            return ""
        return f"it has no TCP socket that listens at {self._address.ip}, port {ECHO_PORT}"

    def begin(self) -> None:
        self._before = self._read()[1]

    def proof(self, answered: int) -> Proof:
        own, now = self._read()
        received, sent = (late - early for late, early in zip(now, self._before, strict=True))
        return Proof(
            proven=own[_ESTABLISHED] > 0 and min(received, sent) > 0 and answered > 0,
            claim=f"{own[_ESTABLISHED]} TCP connections of the kernel's at port {ECHO_PORT} are the program's; the "
            f"kernel counted {received} segments in and {sent} out, and {answered} messages came back",
            evidence={
                "connections": own[_ESTABLISHED],
                "listening": own[_LISTENING],
                "in_segments": received,
                "out_segments": sent,
                "answered": answered,
            },
        )


def _tcp(text: str) -> tuple[int, int]:
    names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("InSegs")]), int(values[names.index("OutSegs")])


def _local(text: str) -> tuple[str, int]:
    """An address of /proc/net/udp or udp6: words of 32 bits in the byte order of the machine, in hex."""
    address, _, port = text.partition(":")
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    return str(ip_address(b"".join(words))), int(port, 16)


def _udp(text: str) -> tuple[int, int]:
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("InDatagrams")]), int(values[names.index("OutDatagrams")])


def _udp6(text: str) -> tuple[int, int]:
    found = dict(line.split() for line in text.splitlines())
    return int(found["Udp6InDatagrams"]), int(found["Udp6OutDatagrams"])


class _PacketSocket:
    """A packet socket that receives, at the first port; and one at each other port."""

    def __init__(self, ports: Iterable[LivePort], program: GuardedProgram) -> None:
        self._ports, self._program = tuple(ports), program

    def _own(self) -> tuple[list[str], list[str]]:
        """Interfaces with such a socket of the program's, and those without."""
        indexes = [f"/sys/class/net/{port.interface}/ifindex" for port in self._ports]
        inodes, _, (text, *found) = _look(self._ports[0].host, self._program, "/proc/net/packet", *indexes)
        # sk, RefCnt, Type, Proto, Iface, R, Rmem, User, Inode
        rows = [row for line in text.splitlines()[1:] if (row := line.split())[8] in inodes]
        having: list[str] = []
        lacking: list[str] = []
        for place, (port, index) in enumerate(zip(self._ports, found, strict=True)):
            at = [row for row in rows if int(row[4]) in (0, int(index))]
            able = [row for row in at if place or (int(row[3], 16) and row[5] == "1")]
            (having if able else lacking).append(str(port.interface))
        return having, lacking

    def lacks(self) -> str:
        lacking = self._own()[1]
        return f"it has no packet socket at {', '.join(lacking)}" if lacking else ""

    def begin(self) -> None:
        """The frames that come back are the traffic."""

    def proof(self, answered: int) -> Proof:
        having, lacking = self._own()
        return Proof(
            proven=not lacking,
            claim=f"packet sockets at {', '.join(having) or 'no port'} are the program's"
            + (f", none at {', '.join(lacking)}" if lacking else ""),
            evidence={"packet_sockets": having, "answered": answered},
        )


_XDP_MODES = {1: "native", 2: "generic", 3: "offloaded"}
"""As ip(8) shows them: IFLA_XDP_ATTACHED."""


def xdp_of(port: LivePort) -> dict[str, object] | None:
    """The XDP program of an interface, as ip(8) shows it; None: it has none."""
    done = subprocess.run(
        port.host.argv(["ip", "-json", "-details", "link", "show", "dev", str(port.interface)]),
        check=False,
        capture_output=True,
        text=True,
    )
    link = json.loads(done.stdout)[0] if done.returncode == 0 else {}
    found: dict[str, object] | None = link.get("xdp")
    return found


class _XdpProgram:
    """An XDP program on each of the DUT's interfaces, which had none before."""

    def __init__(self, ports: tuple[LivePort, ...]) -> None:
        self._ports = ports

    def _attached(self) -> dict[str, dict[str, object]]:
        return {str(port.interface): found for port in self._ports if (found := xdp_of(port)) is not None}

    def lacks(self) -> str:
        lacking = {str(port.interface) for port in self._ports} - self._attached().keys()
        return f"there is no XDP program on {', '.join(sorted(lacking))}" if lacking else ""

    def begin(self) -> None:
        """The frames that come back are the traffic."""

    def proof(self, answered: int) -> Proof:
        attached = self._attached()
        modes = sorted({_XDP_MODES.get(int(str(one.get("mode", 0))), "unknown") for one in attached.values()})
        return Proof(
            proven=len(attached) == len(self._ports),
            claim=f"XDP programs on {', '.join(attached) or 'no interface'}, mode {'/'.join(modes) or 'none'}",
            evidence={"xdp": attached, "answered": answered},
        )


class _OwnCommand:
    """A command of the user's: 0 says that it is proven, and its first line is the claim."""

    def __init__(
        self, command: Command, host: Host, program: GuardedProgram, values: Mapping[str, str]
    ) -> None:
        environment = {**values, PROGRAM: str(program.pid)}
        self._argv = [
            *("env", "-C", command.directory),
            *(f"{name}={value}" for name, value in environment.items()),
            *EXEC,
            *(expand(word, environment) for word in command.proof_argv),
        ]
        self._host = host
        self._name = command.name

    def _run(self) -> tuple[int, str]:
        called = f"the proof of {self._name}"
        with GuardedProgram(self._host, self._argv, called=called) as run:
            code = run.await_end(within_s=OWN_PROOF_S)
            if code is None:
                raise EnvironmentBroken(
                    f"{called} did not end in {OWN_PROOF_S:g} s; it printed: {run.output}"
                )
            return code, run.output

    def lacks(self) -> str:
        code, output = self._run()
        return f"its proof ended with {code}: {output}" if code else ""

    def begin(self) -> None:
        """What moves, the command itself knows."""

    def proof(self, answered: int) -> Proof:
        code, output = self._run()
        return Proof(
            proven=code == 0,
            claim=output.splitlines()[0][:200],
            evidence={"exit_code": code, "printed": output[:2000], "answered": answered},
        )
