"""Whether the interfaces and PCI devices that a host's variables name are there, and may be touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import nics, pci
from .links import Interface, Untouchable

LISTS = ("af_xdp_interfaces", "nic_tuning_interfaces")
DEVICES = "dpdk_devices"


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
        for problem in nics.problems(address, interfaces, root):
            yield f"{where}: {problem}"
        if address in bound:
            yield f"{where}: {address} is named twice. Name it once"
        if address in tuned:
            yield f"{where}: {address} is also {tuned[address]}, which wants it in the kernel. Name it in one of them"
        bound.add(address)
