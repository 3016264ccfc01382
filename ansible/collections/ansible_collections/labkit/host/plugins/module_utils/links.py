"""Interfaces of this host as they are: driver, PCI device, and why one is protected. Changes nothing."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .protected import Network, protected

BIFURCATED = frozenset({"mlx4_core", "mlx4_en", "mlx5_core", "mana"})
"""Drivers beside which DPDK works: the kernel keeps the device (DPDK's guides of mlx4, mlx5 and mana)."""
_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


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


def interfaces(*, over_ssh: bool, management: list[str], root: Path = Path("/")) -> list[Interface]:
    """All of them. Raises protected.WayUnknown, OSError and subprocess.CalledProcessError."""
    links = _ip("-details", "link")
    names = [link["ifname"] for link in links]
    pci = {name: address for name in names if (address := pci_of(name, root))}
    network = Network(
        links=links,
        addresses=_ip("address"),
        routes=[*_ip("-4", "route", "show", "table", "all"), *_ip("-6", "route", "show", "table", "all")],
        nexthops=_ip("nexthop"),
        pci=pci,
        physical_function={name: physical for name in names if (physical := _physical_function(name, root))},
    )
    reasons = protected(
        network, ssh_addresses=list(ssh_addresses(root)), over_ssh=over_ssh, management=management
    )
    return [
        Interface(
            name=name,
            driver=_driver(name, root),
            pci=pci.get(name),
            numa_node=_numa_node(name, root),
            protected=reasons.get(name, []),
            bifurcated=_driver(name, root) in BIFURCATED,
        )
        for name in names
    ]


def _ip(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-json", *arguments], capture_output=True, text=True, check=True, timeout=60)
    # Older iproute2 prints {} for what is not set, and nothing at all for an empty table.
    return [item for item in json.loads(done.stdout or "[]") if item]


def _device(name: str, root: Path) -> Path:
    return root / "sys/class/net" / name / "device"


def pci_of(name: str, root: Path = Path("/")) -> str | None:
    """PCI address under an interface, through what lies between (virtio, auxiliary devices)."""
    found = _PCI.findall(str(_device(name, root).resolve())) if _device(name, root).exists() else []
    return found[-1] if found else None


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


def ssh_addresses(root: Path = Path("/"), start: int | None = None) -> Iterator[str]:
    """Our own ends of the SSH connections that lead to this process.

    sudo drops SSH_CONNECTION, so every ancestor's environment is asked; where none has it, the sockets of the sshd
    among the ancestors are.
    """
    pid = os.getpid() if start is None else start
    while pid > 1:
        process = root / "proc" / str(pid)
        try:
            environment = (process / "environ").read_bytes()
            status = (process / "status").read_text()
        except OSError:
            return
        for variable in environment.split(b"\0"):
            if variable.startswith(b"SSH_CONNECTION="):
                words = variable.decode(errors="replace").partition("=")[2].split()
                if len(words) == 4:
                    yield words[2]
        if re.search(r"^Name:\s*sshd", status, re.MULTILINE):
            yield from _socket_addresses(process)
        parent = re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)
        pid = int(parent.group(1)) if parent else 0


def _socket_addresses(process: Path) -> Iterator[str]:
    """Local addresses of the established TCP connections of a process."""
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
                yield _address(words[1].partition(":")[0])


def _address(text: str) -> str:
    """Address of /proc/net/tcp: words of 32 bits in the machine's own order."""
    swapped = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(swapped) == 4 else socket.AF_INET6, swapped)
