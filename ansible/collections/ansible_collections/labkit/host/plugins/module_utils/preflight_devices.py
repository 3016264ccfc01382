"""Whether the interfaces and PCI devices that a host's variables name are there, and may be touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import pci
from .links import BIFURCATED, Interface, Untouchable

LISTS = ("af_xdp_interfaces", "nic_tuning_interfaces")
DEVICES = "dpdk_devices"
_NIC = "0x02"
"""First byte of the PCI class of network controllers."""


def problems(
    wanted: Mapping[str, Any],
    interfaces: Sequence[Interface],
    touchable: Callable[[str], Interface],
    root: Path = Path("/"),
) -> Iterator[str]:
    """All that is wrong with them. `touchable` is links.touchable of this host, and `interfaces` are all it has."""
    tuned: dict[str, str] = {}
    """PCI address to the variable that wants it in the kernel."""
    for variable in LISTS:
        names: set[str] = set()
        for at, item in enumerate(wanted.get(variable, [])):
            where = f"{variable}[{at}].name"
            try:
                interface = touchable(str(item["name"]))
            except Untouchable as error:
                yield f"{where}: {error}"
                continue
            if interface.name in names:
                yield f"{where}: {interface.name} is named twice. Name it once"
            names.add(interface.name)
            if interface.pci:
                tuned[interface.pci] = where
    bound: set[str] = set()
    for at, item in enumerate(wanted.get(DEVICES, [])):
        where = f"{DEVICES}[{at}].pci"
        address = pci.address(str(item["pci"]))
        if address is None:
            yield f"{where}: {item['pci']} is no PCI address: expected one such as 0000:03:00.0 (lspci -D)"
            continue
        for problem in _device(address, interfaces, root):
            yield f"{where}: {problem}"
        if address in bound:
            yield f"{where}: {address} is named twice. Name it once"
        if address in tuned:
            yield f"{where}: {address} is also {tuned[address]}, which wants it in the kernel. Name it in one of them"
        bound.add(address)


def _device(address: str, interfaces: Sequence[Interface], root: Path) -> Iterator[str]:
    devices = root / "sys/bus/pci/devices"
    device = devices / address
    if not device.exists():
        yield f"this host has no PCI device {address}; {_nics(interfaces, devices)}"
        return
    kind = (device / "class").read_text().strip()
    if not kind.startswith(_NIC):
        yield f"{address} is not a NIC (PCI class {kind}, expected {_NIC}....); {_nics(interfaces, devices)}"
        return
    for interface in interfaces:
        if interface.pci == address and interface.protected:
            yield (
                f"{interface.name} is left alone, because the way to this host needs it: "
                f"{'; '.join(interface.protected)}. Take another NIC, or take it out of the list"
            )
    driver = (device / "driver").resolve().name if (device / "driver").exists() else None
    if driver in BIFURCATED:
        yield f"{address} must keep its driver {driver}: DPDK works beside it. Take it out of the list"


def _nics(interfaces: Sequence[Interface], devices: Path) -> str:
    """The NICs that there are."""
    names: dict[str, list[str]] = {}
    for interface in interfaces:
        if interface.pci:
            names.setdefault(interface.pci, []).append(interface.name)
    found = [
        device.name + (f" ({', '.join(names[device.name])})" if device.name in names else "")
        for device in (sorted(devices.iterdir()) if devices.is_dir() else [])
        if (device / "class").read_text().startswith(_NIC)
    ]
    return f"its NICs are {', '.join(found)}" if found else "it has no NIC on a PCI bus"
