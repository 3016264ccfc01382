"""What is read back of a program of the user's own: which sockets it has, and that traffic went through them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Protocol

from labkit.backends.kernel import ECHO_PORT
from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.lab.commands import PROGRAM, Command, expand
from labkit.lab.live import Lab, LivePort
from labkit.measure.proof import Proof

_BETWEEN = "----"
# The sockets of all processes of its session, then the kernel's lists. /proc/net is that of who reads it.
_LOOK = f"""
session=$1
shift
for stat in /proc/[0-9]*/stat; do
    line=
    read -r line 2>/dev/null <"$stat"
    pid=${{stat#/proc/}}
    pid=${{pid%/stat}}
    read -r _ _ _ of_it _ <<END
${{line##*) }}
END
    [ "$of_it" = "$session" ] && readlink "/proc/$pid/fd/"* 2>/dev/null
done
for path; do echo {_BETWEEN}; cat "$path" 2>/dev/null; done
"""
_INODE = re.compile(r"socket:\[(\d+)\]")
COMMAND_TIMEOUT_S = 60.0


class Evidence(Protocol):
    """How a program is proven."""

    def holds(self) -> bool:
        """Whether it has what the proof asks for, before any traffic."""
        ...

    def begin(self) -> None:
        """Note the counters that traffic will move."""
        ...

    def proof(self) -> Proof:
        """After traffic."""
        ...


def evidence(
    command: Command, lab: Lab, session: int, values: Mapping[str, str], *, ip_version: int
) -> Evidence:
    """That of a command that runs in this session on the DUT's host."""
    port = lab.dut_ports[0]
    if command.proof_argv:
        return _OwnCommand(command, port, session, values)
    if command.proof == "xdp":
        return _XdpProgram(lab.dut_ports)
    if command.proof == "packet_socket":
        return _PacketSocket(port, session)
    return _UdpSocket(port, session, ip_version)


def _look(port: LivePort, session: int, *paths: str) -> tuple[set[str], list[str]]:
    """Inodes of the session's sockets, and the text of these files."""
    done = subprocess.run(
        port.host.argv(["sh", "-c", _LOOK, "sh", str(session), *paths]),
        check=False,
        capture_output=True,
        text=True,
    )
    links, *texts = done.stdout.split(f"{_BETWEEN}\n")
    if len(texts) != len(paths):
        raise ToolFailed(f"what reads the sockets {port.host.ended(done.returncode)}: {done.stderr.strip()}")
    return set(_INODE.findall(links)), texts


class _UdpSocket:
    """A UDP socket of the kernel's at the lab's port, and the kernel's count of datagrams in and out."""

    def __init__(self, port: LivePort, session: int, ip_version: int) -> None:
        self._port, self._session, self._ip_version = port, session, ip_version
        self._before = (0, 0)

    def _read(self) -> tuple[list[str], tuple[int, int]]:
        """The local addresses of its sockets at the lab's port, and datagrams in and out."""
        paths = ("/proc/net/udp", "/proc/net/udp6", "/proc/net/snmp", "/proc/net/snmp6")
        inodes, (udp, udp6, snmp, snmp6) = _look(self._port, self._session, *paths)
        rows = [line.split() for text in (udp, udp6) for line in text.splitlines()[1:]]
        own = [row[1] for row in rows if row[9] in inodes and int(row[1].rpartition(":")[2], 16) == ECHO_PORT]
        return own, _udp6(snmp6) if self._ip_version == 6 else _udp(snmp)

    def holds(self) -> bool:
        return bool(self._read()[0])

    def begin(self) -> None:
        self._before = self._read()[1]

    def proof(self) -> Proof:
        own, now = self._read()
        received, sent = (late - early for late, early in zip(now, self._before, strict=True))
        return Proof(
            proven=bool(own) and received > 0 and sent > 0,
            claim=f"{'a' if own else 'no'} UDP socket of the kernel's at port {ECHO_PORT} is the program's; the kernel "
            f"counted {received} datagrams in and {sent} out",
            evidence={"local_addresses": own, "in_datagrams": received, "out_datagrams": sent},
        )


def _udp(text: str) -> tuple[int, int]:
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("InDatagrams")]), int(values[names.index("OutDatagrams")])


def _udp6(text: str) -> tuple[int, int]:
    found = dict(line.split() for line in text.splitlines())
    return int(found["Udp6InDatagrams"]), int(found["Udp6OutDatagrams"])


class _PacketSocket:
    """A packet socket."""

    def __init__(self, port: LivePort, session: int) -> None:
        self._port, self._session = port, session

    def _own(self) -> list[str]:
        inodes, (text,) = _look(self._port, self._session, "/proc/net/packet")
        return [line for line in text.splitlines()[1:] if line.split()[-1] in inodes]

    def holds(self) -> bool:
        return bool(self._own())

    def begin(self) -> None:
        """The frames that come back are the traffic."""

    def proof(self) -> Proof:
        own = self._own()
        return Proof(
            proven=bool(own),
            claim=f"{len(own)} packet sockets are the program's",
            evidence={"packet_sockets": own},
        )


class _XdpProgram:
    """An XDP program on each of the DUT's interfaces."""

    def __init__(self, ports: tuple[LivePort, ...]) -> None:
        self._ports = ports

    def _attached(self) -> dict[str, dict[str, object]]:
        found = {}
        for port in self._ports:
            done = subprocess.run(
                port.host.argv(["ip", "-json", "-details", "link", "show", "dev", str(port.interface)]),
                check=False,
                capture_output=True,
                text=True,
            )
            link = json.loads(done.stdout)[0] if done.returncode == 0 else {}
            if "xdp" in link:
                found[str(port.interface)] = link["xdp"]
        return found

    def holds(self) -> bool:
        return len(self._attached()) == len(self._ports)

    def begin(self) -> None:
        """The frames that come back are the traffic."""

    def proof(self) -> Proof:
        attached = self._attached()
        modes = sorted({_XDP_MODES.get(one.get("mode"), "unknown") for one in attached.values()})  # type: ignore[call-overload]
        return Proof(
            proven=len(attached) == len(self._ports),
            claim=f"XDP programs on {', '.join(attached) or 'no interface'}, mode {'/'.join(modes) or 'none'}",
            evidence={"xdp": attached},
        )


_XDP_MODES = {1: "native", 2: "generic", 3: "offloaded"}
"""As ip(8) shows them: IFLA_XDP_ATTACHED."""


class _OwnCommand:
    """A command of the user's: 0 says that it is proven, and its first line is the claim."""

    def __init__(self, command: Command, port: LivePort, session: int, values: Mapping[str, str]) -> None:
        environment = {**values, PROGRAM: str(session)}
        self._argv = [
            *("env", "-C", command.directory),
            *(f"{name}={value}" for name, value in environment.items()),
            *(expand(word, environment) for word in command.proof_argv),
        ]
        self._port = port
        self._name = command.name

    def _run(self) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                self._port.host.argv(self._argv),
                check=False,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise EnvironmentBroken(
                f"the proof of {self._name} did not end in {COMMAND_TIMEOUT_S:g} s: {self._argv}"
            ) from error

    def holds(self) -> bool:
        return self._run().returncode == 0

    def begin(self) -> None:
        """What moves, the command itself knows."""

    def proof(self) -> Proof:
        done = self._run()
        lines = (done.stdout or done.stderr).strip().splitlines()
        return Proof(
            proven=done.returncode == 0,
            claim=lines[0][:200] if lines else f"its proof ended with exit code {done.returncode}",
            evidence={"exit_code": done.returncode, "printed": "\n".join(lines)[:2000]},
        )
