"""TRex's server of a lab on this machine: a unit of systemd, by the code and with the rights that the role trex gives.

The role has installed the server. What is added for a lab is in the journal, lies in /run, and goes with the lab.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError, ToolFailed
from labkit.machine import hugepages
from labkit.machine.cores import parse_list
from labkit.machine.journal import Journal
from labkit.machine.privilege import ensure_privileges
from labkit.machine.roles import host_module
from labkit.machine.service import ServiceTunable, systemctl
from labkit.machine.tunables import undo

ROLE_HINT = (
    "give the host trex_version and trex_sha256 in the inventory, then: "
    "ansible-playbook -i INVENTORY ansible/site.yml --tags trex"
)
MEMORY_MIB = 2048
"""Hugepages for NICs on each NUMA node, as the role's default."""
_ROOT = Path("/")
_ISOLATED = Path("/sys/devices/system/cpu/isolated")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPort:
    """A port that the server is to drive: an interface, or a NIC on vfio-pci by its PCI address."""

    interface: str = ""
    pci: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers."""

    pid: int
    tid: int
    """Its thread on the core that sends."""
    version: str
    mode: str
    """Which cores it has, in words."""
    own_network: bool
    """Whether it has a network namespace of its own."""
    rpc_port: int
    publisher_port: int


def folder() -> Path:
    """The folder of the server that the role has installed. Raises EnvironmentBroken where there is none."""
    if not host_module("services").has_systemd(_ROOT):
        raise EnvironmentBroken("systemd does not run here, and TRex's server is a unit of it on hosts")
    unit = host_module("trex_unit")
    try:
        found: str | None = unit.folder_of(Path(unit.TEMPLATE_PATH).read_text())
    except OSError:
        found = None
    needed = [] if found is None else [Path(found) / "current/_t-rex-64", Path(unit.API_PATH)]
    if found is None or not all(one.exists() for one in needed):
        raise EnvironmentBroken("no TRex server is installed here", hint=ROLE_HINT)
    return Path(found)


def start(
    ports: Sequence[ServerPort], *, core: int, taken: Collection[int], journal: Journal, lab: str
) -> Running:
    """Have a server run on these ports, until `stop` or `labkit down`; it sends on `core`.

    `taken`: cores that it must leave alone. Raises EnvironmentBroken (what it needs is not there), ConfigInvalid, or
    ToolFailed with its last lines.
    """
    unit, config, server = host_module("trex_unit"), host_module("trex_config"), host_module("trex_server")
    place = folder()
    found, cores = _placed(ports, core=core, taken=taken)
    own_network = config.own_network(found)
    tunable = ServiceTunable(unit.LAB.unit, (unit.LAB_UNIT_PATH, unit.LAB.configuration), config.LAB_PREFIX)
    if tunable.read() == "running":
        tunable.write("gone")  # of a lab that nobody knows of any more: this machine is reserved for us
    if not own_network:
        _check_free(config.LAB_RPC_PORT, config.LAB_PUBLISHER_PORT)
    _grant_memory(found, cores, journal=journal, lab=lab)
    entry = journal.begin(lab=lab, tunable=tunable.describe(), old="gone", new="running")
    try:
        Path(unit.LAB.configuration).write_text(
            config.text(found, cores, threads=1, memory_mib=MEMORY_MIB, of_lab=True)
        )
        path = Path(unit.LAB_UNIT_PATH)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit.of_lab(str(place), own_network=own_network))
        systemctl("daemon-reload")
        started = systemctl("start", unit.LAB.unit)
        if started.returncode:
            raise ToolFailed(f"the TRex server did not come up: {started.stderr.strip()}\n{_log()}")
        try:
            version = server.version(unit.LAB)
            at = server.reached(unit.LAB, own_network=own_network)
            pid = server.main_pid(unit.LAB)
        except server.ServerFailed as error:
            raise ToolFailed(f"{error}\n{_log()}") from error
        if at:
            raise EnvironmentBroken(
                f"others could reach TRex at {', '.join(at)}, and it asks nobody for a password: it was stopped",
                hint="control groups v2 and a kernel with CONFIG_CGROUP_BPF, or NICs on vfio-pci",
            )
        if not pid:
            raise ToolFailed(f"the TRex server has ended: {_log()}")
        return Running(
            pid=pid,
            tid=_thread_on(core, pid),
            version=version,
            mode=_mode(cores),
            own_network=own_network,
            rpc_port=config.LAB_RPC_PORT,
            publisher_port=config.LAB_PUBLISHER_PORT,
        )
    except BaseException as error:
        with suppress(LabkitError):  # the journal has it still: the first error is the one to know of
            undo(entry, journal=journal)
        if isinstance(error, OSError):
            raise EnvironmentBroken(f"the TRex server's unit: {error}") from error
        raise


def check_alive(pid: int) -> None:
    """Raise ToolFailed, with its last lines, unless this process is still the server."""
    server = host_module("trex_server")
    try:
        now = server.main_pid(host_module("trex_unit").LAB)
    except server.ServerFailed as error:
        raise ToolFailed(str(error)) from error
    if now != pid:
        raise ToolFailed(f"the TRex server has ended: {_log()}")


def stop(*, journal: Journal, lab: str) -> None:
    """End it, if it runs. Raises EnvironmentBroken."""
    for entry in reversed(journal.read().entries):
        if entry.lab == lab and entry.tunable.get("kind") == ServiceTunable.kind:
            left = undo(entry, journal=journal)
            if left:
                raise EnvironmentBroken(left)


def _placed(ports: Sequence[ServerPort], *, core: int, taken: Collection[int]) -> tuple[Any, Any]:
    """Ports and cores as the role's code has them. Raises EnvironmentBroken or ConfigInvalid."""
    config, links = host_module("trex_config"), host_module("links")
    on_host, cpus = host_module("trex_host"), host_module("cpus")
    touchable: Callable[[str], Any] = functools.partial(
        links.touchable, over_ssh=any(links.ssh_connections()), management=[]
    )
    entries = [{"pci": port.pci} if port.pci else {"interface": port.interface} for port in ports]
    try:
        found = on_host.ports(entries, touchable)
        cores = config.cores_around(
            found,
            core=core,
            taken=taken,
            isolated=_ISOLATED.read_text() if _ISOLATED.exists() else "",
            online=cpus.parse(Path(cpus.ONLINE).read_text()),
            nodes=on_host.nodes(),
        )
    except (links.Untouchable, host_module("protected").WayUnknown) as error:
        raise EnvironmentBroken(str(error)) from error
    except ValueError as error:
        raise ConfigInvalid(str(error)) from error
    return found, cores


def _grant_memory(ports: Any, cores: Any, *, journal: Journal, lab: str) -> None:  # noqa: ANN401 (of the collection)
    """Hugepages for NICs. Raises EnvironmentBroken."""
    need_mib: int = host_module("trex_config").memory_needed_mib(ports, cores, MEMORY_MIB)
    if not need_mib:
        return
    privileges = ensure_privileges()
    for node in sorted({port.numa_node or 0 for port in ports}):  # of the NICs: memory of others is of no use
        hugepages.grant_on_node(node, need_mib << 20, privileges=privileges, journal=journal, lab=lab)
    if not hugepages.grant(need_mib << 20, privileges=privileges, journal=journal, lab=lab):
        raise EnvironmentBroken("there are no hugepages on this kernel, and TRex needs them for a NIC")
    short = list(host_module("trex_host").short_of_memory(ports, cores, memory_mib=MEMORY_MIB))
    if short:
        raise EnvironmentBroken("; ".join(short))


def _log() -> str:
    """The last lines that it printed."""
    server = host_module("trex_server")
    try:
        found: str = server.log(host_module("trex_unit").LAB)
    except server.ServerFailed as error:
        return str(error)
    return found


def _check_free(*ports: int) -> None:
    """Raise EnvironmentBroken where somebody answers there: it would be taken for the lab's server."""
    for port in ports:
        with socket.socket() as attempt:
            attempt.settimeout(1.0)
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                raise EnvironmentBroken(
                    f"port {port}, at which TRex is to listen for the lab, is in use here",
                    hint=f"end the program: ss --listening --tcp --processes 'sport = :{port}'",
                )


def _mode(cores: Any) -> str:  # noqa: ANN401 (of the collection)
    if cores.low_end is not None:
        return "low-end mode"
    sending = ", ".join(str(one) for pair in cores.pairs for one in pair)
    return f"core {sending} sends, core {cores.receiver} receives, core {cores.main} does the rest"


def _thread_on(core: int, pid: int) -> int:
    """Its thread that runs on this core alone; its first one where there is none, as the gate on cores shows."""
    with suppress(OSError):  # a thread has ended, or all of it: who asks next learns so
        for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda one: int(one.name)):
            status = dict(line.partition(":\t")[::2] for line in (task / "status").read_text().splitlines())
            if parse_list(status["Cpus_allowed_list"]) == {core}:
                return int(task.name)
    return pid
