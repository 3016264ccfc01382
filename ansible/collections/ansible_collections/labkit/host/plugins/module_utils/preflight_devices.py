"""Whether the interfaces and PCI devices that a host's variables name are there, and may be touched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import iommu, nics, pci
from .links import Interface, Untouchable

LISTS = ("af_xdp_interfaces", "nic_tuning_interfaces")
DEVICES = "dpdk_devices"
TREX = "trex_ports"
"""Judged by trex_host.py."""
IOMMU_TABLES = ("DMAR", "IVRS", "IORT", "VIOT")
"""ACPI tables in which firmware describes an IOMMU: Intel's, AMD's, Arm's, virtio's."""


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
        driver = item.get("driver")
        found = list(nics.problems(address, interfaces, root))
        for problem in found or nics.losses(address, driver, interfaces, root):
            yield f"{where}: {problem}"
        if iommu.is_vfio(driver):
            for problem in _vfio(address, wanted, root):
                yield f"{where}: {problem}"
        if address in bound:
            yield f"{where}: {address} is named twice. Name it once"
        if address in tuned:
            yield f"{where}: {address} is also {tuned[address]}, which needs it in the kernel. Name it in one of them"
        bound.add(address)


def source(wanted: Mapping[str, Any]) -> Iterator[str]:
    """Whether the variables of DPDK's source are complete."""
    url, version, checksum = (
        str(wanted.get(f"dpdk_source_{name}", "")) for name in ("url", "version", "sha256")
    )
    if url and not version:
        yield f"dpdk_source_version is empty, and dpdk_source_url is {url}: expected the archive's, such as 24.11.1"
    if url and not re.fullmatch("[0-9a-f]{64}", checksum):
        yield (
            f"dpdk_source_sha256 is {checksum or 'empty'}, and dpdk_source_url is {url}: expected 64 hexadecimal "
            "digits, as sha256sum prints them"
        )


def _vfio(address: str, wanted: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Whether vfio can work on it. An IOMMU that is to be switched on comes with the next boot."""
    if not nics.folder(address, root).exists():
        return
    asked = str(wanted.get("dpdk_iommu", "auto"))
    if asked == "off":  # also while one is still on: the next boot switches it off
        yield (
            f"{address} is for vfio, which works on groups of the IOMMU, and dpdk_iommu is off: expected auto, on, or "
            "noiommu (unsafe), or a driver such as uio_pci_generic"
        )
        return
    if iommu.group_of(address, root) or asked == "noiommu":
        together = {pci.address(str(item["pci"])) or "" for item in wanted[DEVICES]}
        yield from iommu.problems(address, together=together, noiommu=asked == "noiommu", root=root)
        return
    tables = root / "sys/firmware/acpi/tables"
    if tables.is_dir() and not any((tables / name).exists() for name in IOMMU_TABLES):
        yield (
            f"{address} is in no IOMMU group, and the firmware reports no IOMMU ({', '.join(IOMMU_TABLES)}): switch "
            "it on there (VT-d, AMD-Vi), or give the driver uio_pci_generic"
        )
