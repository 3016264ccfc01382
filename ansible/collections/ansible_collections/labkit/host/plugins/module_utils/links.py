"""Interfaces of this host as they are: driver, PCI device, and why one is protected. Changes nothing."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import pci as pci_address
from .programs import environment
from .protected import Connection, Network, WayUnknown, named, protected
from .uses import uses

BIFURCATED = frozenset({"mlx4_core", "mlx4_en", "mlx5_core", "mana"})
"""Drivers beside which DPDK works: the kernel keeps the device (DPDK's guides of mlx4, mlx5 and mana)."""


@dataclass(frozen=True)
class Interface:
    """One interface."""

    name: str
    driver: str | None
    pci: str | None
    """Address of the PCI device under it, such as 0000:03:00.0; of a virtio NIC that of its transport."""
    numa_node: int | None
    protected: list[str]
    """Why it must not be touched; empty: it may."""
    bifurcated: bool
    uses: list[str] = field(default_factory=list)
    """What it is used for that is lost when its device gets another driver: addresses, routes, its bond."""


class Untouchable(Exception):
    """The interface is not there, or must not be touched; says why."""


def touchable(text: str, *, over_ssh: bool, management: list[str], root: Path = Path("/")) -> Interface:
    """The one interface that `text` names in any way, if it may be touched. Raises Untouchable besides WayUnknown.

    Every change to an interface starts here, on the host itself, whatever the inventory says.
    """
    network = look(root)
    names = named(network, text)
    if len(names) != 1:
        there = ", ".join(link["ifname"] for link in network.links)
        raise Untouchable(
            f"{text}: expected the name, alternative name, alias or PCI address of one interface, "
            f"found {' and '.join(names) or 'none'}. There are {there}."
        )
    [found] = [
        one
        for one in _told(network, over_ssh=over_ssh, management=management, root=root)
        if one.name == names[0]
    ]
    if found.protected:
        also = "" if found.name == text else f" ({found.name})"
        raise Untouchable(
            f"{text}{also} is left alone, because the way to this host needs it: {'; '.join(found.protected)}"
        )
    return found


def interfaces(*, over_ssh: bool, management: list[str], root: Path = Path("/")) -> list[Interface]:
    """All of them. Raises protected.WayUnknown."""
    return _told(look(root), over_ssh=over_ssh, management=management, root=root)


def look(root: Path = Path("/")) -> Network:
    """The network as `ip` reports it. Raises WayUnknown where it can't."""
    links = _ip("-details", "link")
    names = [link["ifname"] for link in links]
    pci = {name: address for name in names if (address := pci_of(name, root))}
    return Network(
        links=links,
        addresses=_ip("address"),
        routes=[*_ip("-4", "route", "show", "table", "all"), *_ip("-6", "route", "show", "table", "all")],
        nexthops=_ip("nexthop"),
        pci=pci,
        physical_function={name: physical for name in names if (physical := _physical_function(name, root))},
    )


def _told(network: Network, *, over_ssh: bool, management: list[str], root: Path) -> list[Interface]:
    reasons = protected(network, ssh=list(ssh_connections(root)), over_ssh=over_ssh, management=management)
    return [
        Interface(
            name=name,
            driver=_driver(name, root),
            pci=network.pci.get(name),
            numa_node=_numa_node(name, root),
            protected=reasons.get(name, []),
            bifurcated=_driver(name, root) in BIFURCATED,
            uses=uses(network, name),
        )
        for name in (link["ifname"] for link in network.links)
    ]


def _ip(*arguments: str) -> list[dict[str, Any]]:
    command = ["ip", "-json", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60, env=environment()
        )
    except FileNotFoundError as error:
        raise WayUnknown(
            "ip is not installed, so the way to this host cannot be determined: install iproute2"
        ) from error
    except subprocess.CalledProcessError as error:
        raise WayUnknown(
            f"{' '.join(command)} failed, so the way to this host cannot be determined: {error.stderr.strip()}"
        ) from error
    # Older iproute2 prints {} for what is not set, and nothing at all for an empty table.
    return [item for item in json.loads(done.stdout or "[]") if item]


def _device(name: str, root: Path) -> Path:
    return root / "sys/class/net" / name / "device"


def pci_of(name: str, root: Path = Path("/")) -> str | None:
    """PCI address under an interface, through what lies between (virtio, auxiliary devices)."""
    device = _device(name, root)
    return pci_address.innermost(str(device.resolve())) if device.exists() else None


def _driver(name: str, root: Path) -> str | None:
    link = _device(name, root) / "driver"
    return link.resolve().name if link.exists() else None


def _numa_node(name: str, root: Path) -> int | None:
    try:
        node = int((_device(name, root) / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _physical_function(name: str, root: Path) -> str | None:
    link = _device(name, root) / "physfn"
    return link.resolve().name if link.exists() else None


def ssh_connections(root: Path = Path("/"), start: int | None = None) -> Iterator[Connection]:
    """The SSH connections that lead to this process.

    sudo drops SSH_CONNECTION, so every ancestor's environment is asked. A tmux has that of the session that started it
    and not of the one that looks at it, and what cron starts has none: so those of every sshd here count, too.
    """
    pid = os.getpid() if start is None else start
    while pid > 1:
        process = root / "proc" / str(pid)
        try:
            environment = (process / "environ").read_bytes()
            status = (process / "status").read_text(errors="replace")
        except OSError:
            break
        for variable in environment.split(b"\0"):
            if variable.startswith(b"SSH_CONNECTION="):
                words = variable.decode(errors="replace").partition("=")[2].split()
                if len(words) == 4 and all(map(_is_address, (words[0], words[2]))):
                    yield Connection(own=words[2], peer=words[0])
        parent = re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)
        pid = int(parent.group(1)) if parent else 0
    here = _namespace(root / "proc/self")
    for process in sorted((root / "proc").glob("[0-9]*")):
        try:
            is_sshd = re.search(
                r"^Name:\s*sshd", (process / "status").read_text(errors="replace"), re.MULTILINE
            )
        except OSError:  # it has ended
            continue
        if is_sshd and _namespace(process) == here:
            # Over loopback sshd also connects to what it forwards.
            yield from (one for one in _connections(process) if not ipaddress.ip_address(one.own).is_loopback)


def _is_address(text: str) -> bool:
    """Not so the UNKNOWN that sshd says of other ways in, such as a virtual machine's vsock."""
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _namespace(process: Path) -> str | None:
    """The network namespace of a process."""
    try:
        return str((process / "ns/net").readlink())
    except OSError:
        return None


def _connections(process: Path) -> Iterator[Connection]:
    """The established TCP connections of a process."""
    inodes = set()
    try:
        for descriptor in (process / "fd").iterdir():
            inodes |= set(re.findall(r"^socket:\[(\d+)\]$", str(descriptor.readlink())))
    except OSError:
        return
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (process / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[9] in inodes and words[3] == "01":
                own, peer = (_address(word.partition(":")[0]) for word in words[1:3])
                yield Connection(own=own, peer=peer)


def _address(text: str) -> str:
    """Address of /proc/net/tcp: words of 32 bits in the machine's own order."""
    swapped = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(swapped) == 4 else socket.AF_INET6, swapped)
