"""What a host has for a TRex server: the ports as they are there, cores, hugepages. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import cpus, nics, pci, trex_config
from .links import BIFURCATED, Interface, Untouchable
from .trex_config import Port

NODES = "sys/devices/system/node"
Touchable = Callable[[str], Interface]
"""links.touchable of this host."""


def problems(
    wanted: Mapping[str, Any],
    interfaces: Sequence[Interface],
    touchable: Touchable,
    root: Path = Path("/"),
) -> Iterator[str]:
    """All that is wrong with the ports that the variables name, before anything is changed."""
    entries = wanted.get("trex_ports") or []
    if wrong := list(trex_config.entries_wrong(entries)):
        yield from wrong
        return
    bound = {pci.address(str(item["pci"])) for item in wanted.get("dpdk_devices") or []}
    seen: set[str] = set()
    for at, entry in enumerate(entries):
        for problem in _port_problems(entry, interfaces, touchable, bound, seen, root):
            yield f"trex_ports[{at}]: {problem}"
    if any(entry.get("pci") for entry in entries):
        yield from _no_hugepages(wanted, root)
        if wanted.get("dpdk_iommu") == "noiommu":
            yield (
                "trex_ports names NICs by pci, and dpdk_iommu is noiommu: without an IOMMU DPDK asks for rights "
                "(CAP_SYS_ADMIN) that the unit of TRex has not. Switch the IOMMU on, or name interfaces"
            )


def _port_problems(
    entry: Mapping[str, Any],
    interfaces: Sequence[Interface],
    touchable: Touchable,
    bound: Collection[str | None],
    seen: set[str],
    root: Path,
) -> Iterator[str]:
    """`bound`: addresses that the role dpdk binds. `seen`: what the ports before have."""
    if entry.get("interface"):
        try:
            interface = touchable(str(entry["interface"]))
        except Untouchable as error:
            yield str(error)
            return
        name = interface.name
        if interface.pci and interface.pci in bound:
            yield (
                f"{name} is on {interface.pci}, which dpdk_devices takes from the kernel. Name the port by pci, or "
                "take it out of dpdk_devices"
            )
    else:
        name = pci.address(str(entry["pci"])) or ""
        found = list(nics.problems(name, interfaces, root, bound=False))
        yield from found
        driver = nics.driver_of(name, root)
        if not found and name not in bound and driver not in BIFURCATED and "vfio" not in (driver or ""):
            yield (
                f"{name} has the driver {driver or 'none'}: expected it in dpdk_devices with the driver vfio-pci, so "
                "that TRex can open it. Or name its interface instead, which is slower"
            )
    if name in seen:
        yield f"{name} is named twice. Name it once"
    seen.add(name)


def _no_hugepages(wanted: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Whether pages are asked for, or there. How many are free on which node shows when the server is to start."""
    count = str(wanted.get("hugepages_count", "0")).strip()
    if count not in ("0", "") or wanted.get("hugepages_pools"):
        return
    if not any(_number(file) for file in root.glob("sys/kernel/mm/hugepages/*/nr_hugepages")):
        yield (
            "trex_ports names NICs by pci, which takes hugepages, and this host has none: hugepages_count is "
            f"{count or 'empty'} and hugepages_pools is empty. Expected "
            f"{wanted.get('trex_memory_mib', 'trex_memory_mib')} MiB on the NICs' NUMA node"
        )


def ports(entries: Sequence[Mapping[str, Any]], touchable: Touchable, root: Path = Path("/")) -> list[Port]:
    """The ports as the host has them. Raises ValueError and Untouchable."""
    if wrong := list(trex_config.entries_wrong(entries)):
        raise ValueError("\n".join(wrong))
    return [_port(entry, touchable, root) for entry in entries]


def _port(entry: Mapping[str, Any], touchable: Touchable, root: Path) -> Port:
    mac = str(entry.get("dest_mac") or "")
    if entry.get("interface"):
        found = touchable(str(entry["interface"]))
        mtu = _number(root / "sys/class/net" / found.name / "mtu") or 1500
        return Port(found.name, False, found.numa_node, mtu, mac)
    address = pci.address(str(entry["pci"])) or ""
    device = nics.folder(address, root)
    driver = nics.driver_of(address, root)
    for name in nics.interfaces_of(address, root):  # a driver beside which DPDK works leaves it there
        touchable(name)
    node = _number(device / "numa_node")
    return Port(address, True, node, 1500, mac, bifurcated=driver in BIFURCATED)


def cores(
    of: Sequence[Port], *, given: str, threads: int, isolated: str, root: Path = Path("/")
) -> trex_config.Cores:
    """The cores of a server with these ports. Raises ValueError."""
    online = cpus.parse((root / cpus.ONLINE.lstrip("/")).read_text())
    return trex_config.choose_cores(
        of, given=given, threads=threads, isolated=isolated, online=online, nodes=nodes(root)
    )


def nodes(root: Path = Path("/")) -> dict[int, frozenset[int]]:
    """NUMA node to its cores; nothing on a kernel without NUMA."""
    found = {}
    for folder in (root / NODES).glob("node[0-9]*"):
        found[int(folder.name[4:])] = cpus.parse((folder / "cpulist").read_text())
    return found


def short_of_memory(
    of: Sequence[Port], chosen: trex_config.Cores, *, memory_mib: int, root: Path = Path("/")
) -> Iterator[str]:
    """Where there are too few free hugepages for a server that is to be started."""
    need_mib = trex_config.memory_needed_mib(of, chosen, memory_mib)
    if not need_mib:
        return
    for node in sorted({port.numa_node or 0 for port in of}):
        free_mib = _free_mib(root, node)
        if free_mib < need_mib:
            yield (
                f"{free_mib} MiB of hugepages are free on NUMA node {node}, expected {need_mib}: ask for more (role "
                "hugepages: hugepages_count or hugepages_pools), or for less (trex_memory_mib)"
            )


def _free_mib(root: Path, node: int) -> int:
    folder = root / NODES / f"node{node}/hugepages"
    if not folder.is_dir():
        folder = root / "sys/kernel/mm/hugepages"
    free = 0
    for size in folder.glob("hugepages-*kB"):
        kib = re.fullmatch(r"hugepages-(\d+)kB", size.name)
        free += int(kib.group(1)) * (_number(size / "free_hugepages") or 0) if kib else 0
    return free // 1024


def _number(file: Path) -> int | None:
    """None: there is no such file, or a number below zero: it is on no node."""
    try:
        found = int(file.read_text())
    except (OSError, ValueError):
        return None
    return found if found >= 0 else None


def down(of: Sequence[Port], root: Path = Path("/")) -> list[str]:
    """Interfaces among the ports that are not up."""
    found = []
    for port in of:
        flags = root / "sys/class/net" / port.name / "flags"
        if not port.is_pci and flags.exists() and not int(flags.read_text(), 16) & 1:  # IFF_UP
            found.append(port.name)
    return found
