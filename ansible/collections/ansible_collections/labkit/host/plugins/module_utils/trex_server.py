"""Has a TRex server run that was started of what is configured, answers, and is reached by nobody else."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import files, services, trex_api, trex_config, trex_unit
from .trex_config import Cores, Port
from .trex_unit import HOST, Instance

LOG_LINES = 25
_ASKED_S = 150.0
"""For programs of systemd and for trex_api.py, which has a time of its own."""


class ServerFailed(Exception):
    """It does not run as it should; says why, with its last lines."""


@dataclass(frozen=True)
class Server:
    """What a server is started of."""

    folder: str
    """It has the link `current`."""
    version: str
    sha256: str
    """Of the archive."""
    ports: Sequence[Port]
    cores: Cores
    threads: int
    memory_mib: int

    @property
    def configuration(self) -> str:
        """The text of its configuration file."""
        return trex_config.text(self.ports, self.cores, threads=self.threads, memory_mib=self.memory_mib)

    @property
    def started_of(self) -> str:
        """Checksum of all of it: one that was started of something else is to be restarted."""
        own = trex_config.own_network(self.ports)
        parts = (trex_unit.template(self.folder), self.sha256, self.configuration, str(own))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def drop_in(self) -> str:
        """What its instance has in addition to the unit."""
        return trex_unit.drop_in(own_network=trex_config.own_network(self.ports), started_of=self.started_of)


def install(role: str, folder: str, *, root: Path = Path("/"), check: bool = False) -> bool:
    """Install the unit, and what it asks a server with. Starts nothing. Returns whether that changes anything."""
    api = files.change(role, trex_unit.API_PATH, inspect.getsource(trex_api), root=root, check=check)
    unit = files.change(role, trex_unit.TEMPLATE_PATH, trex_unit.template(folder), root=root, check=check)
    return api or unit


def configure(role: str, server: Server, *, root: Path = Path("/"), check: bool = False) -> bool:
    """Write what the instance is started of. Returns whether that changes anything."""
    drop_in = files.change(role, trex_unit.DROP_IN_PATH, server.drop_in, root=root, check=check)
    configuration = files.change(
        role, trex_unit.CONFIGURATION_PATH, server.configuration, root=root, check=check
    )
    return drop_in or configuration


def run(role: str, server: Server, *, check: bool = False) -> bool:
    """Have it run, now and at every boot. Returns whether that changes anything. Raises ServerFailed.

    It is started anew where it was started of something else, or does not answer. One that can't be started, or that
    others reach, is stopped again.
    """
    if not services.has_systemd():
        raise ServerFailed("trex_ports: systemd does not run on this host, so no server can be started")
    if check and not services.look(trex_unit.UNIT).file:
        return True  # the unit comes with the run
    if not check:
        reload_units()
    anew = stale(server)
    if check:
        return services.change(role, trex_unit.UNIT, enabled=True, running=True, check=True) or anew
    try:
        # Its own failures in the past don't count.
        _program("systemctl", "reset-failed", trex_unit.UNIT)
        changed = services.change(role, trex_unit.UNIT, enabled=True, running=True)
        if anew:
            done = _program("systemctl", "--no-ask-password", "restart", trex_unit.UNIT)
            if done.returncode:
                raise services.ServiceFailed(done.stderr.strip())
        found = version()
        if found != server.version:
            raise ServerFailed(
                f"trex_version is {server.version}, and the server says that it is {found}: name the version that is "
                "in the archive"
            )
        if at := reached(own_network=trex_config.own_network(server.ports)):
            raise ServerFailed(
                f"others can reach TRex at {', '.join(at)}, and it asks nobody for a password: the unit's filter is "
                "not in effect (IPAddressDeny= takes control groups v2 and a kernel with CONFIG_CGROUP_BPF). It was "
                "stopped. Use ports by pci, which have a network namespace of their own"
            )
    except (services.ServiceFailed, ServerFailed) as error:
        lines = log()
        _program("systemctl", "--no-ask-password", "stop", trex_unit.UNIT)
        raise ServerFailed(f"{error}\nThe last lines of {trex_unit.UNIT}:\n{lines}") from error
    return changed or anew


def reload_units() -> None:
    """Have systemd read the unit where a file of it is newer than what it knows. Raises ServiceFailed."""
    shown = _program("systemctl", "show", "--property=NeedDaemonReload", "--value", trex_unit.UNIT)
    if shown.stdout.strip() != "no" or not services.look(trex_unit.UNIT).file:
        services.reload()


def stale(server: Server) -> bool:
    """Whether one runs that was started of something else, or does not answer."""
    pid = main_pid()
    if not pid:
        return False
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return True
    if f"{trex_unit.STARTED_OF}={server.started_of}".encode() not in environment:
        return True
    try:
        version()
    except ServerFailed:
        return True
    return False


def main_pid(of: Instance = HOST) -> int:
    """Its process; 0: none runs."""
    shown = _program("systemctl", "show", "--property=MainPID", "--value", of.unit).stdout.strip()
    return int(shown or 0)


def version(of: Instance = HOST) -> str:
    """What the server that runs says. Raises ServerFailed."""
    answer = _ask(of, "version", "--timeout", "10")
    try:
        return str(json.loads(answer)["version"])
    except (ValueError, LookupError, TypeError) as error:
        raise ServerFailed(f"TRex did not say its version: {answer[:300]}") from error


def reached(of: Instance = HOST, *, own_network: bool) -> list[str]:
    """Where others reach it; where it has a network namespace of its own, which interfaces are in that but loopback."""
    if not own_network:
        return _ask(of, "reach").split()
    pid = main_pid(of)
    if _namespace("self") == _namespace(str(pid)):
        return ["all addresses of this host (PrivateNetwork= is not in effect)"]
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    names = {line.partition(":")[0].strip() for line in lines}
    return sorted(names - {"lo"})


def _namespace(process: str) -> str:
    return str(Path(f"/proc/{process}/ns/net").readlink())


def _ask(of: Instance, *arguments: str) -> str:
    """What trex_api.py prints in the network namespace of the server. Raises ServerFailed."""
    pid = main_pid(of)
    if not pid:
        raise ServerFailed("the server does not run")
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, trex_unit.API_PATH, *arguments]
    done = _program(*command, "--configuration", of.configuration)
    if done.returncode:
        raise ServerFailed(f"the server does not answer: {done.stderr.strip()}")
    return done.stdout.strip()


def log(of: Instance = HOST) -> str:
    """The last lines that it printed."""
    done = _program(
        "journalctl", "--unit", of.unit, "--lines", str(LOG_LINES), "--output", "cat", "--no-pager"
    )
    return "\n".join(line for line in done.stdout.splitlines() if line.strip()) or "nothing is in the journal"


def _program(*command: str) -> subprocess.CompletedProcess[str]:
    """Raises ServerFailed where it is not there or takes too long."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ASKED_S)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise ServerFailed(f"{' '.join(command)}: {error}") from error
