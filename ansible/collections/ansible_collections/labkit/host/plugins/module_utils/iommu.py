"""What vfio needs of the IOMMU: a group for the device, all of whose other devices leave it alone. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from . import nics

UNSAFE = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_HARMLESS = frozenset({"pci-stub", "pcieport", "xen-pciback"})
"""Drivers that do no DMA for the kernel, besides vfio's own (driver_managed_dma in the kernel's source)."""


def is_vfio(driver: str | None) -> bool:
    """Whether this is vfio-pci, or a variant of it for one device."""
    return driver is not None and "vfio" in driver


def group_of(address: str, root: Path) -> str | None:
    """Number of the device's IOMMU group; None: no IOMMU is on, or not for this device."""
    link = nics.folder(address, root) / "iommu_group"
    return link.resolve().name if link.exists() else None


def problems(address: str, *, together: Collection[str], noiommu: bool, root: Path) -> Iterator[str]:
    """Why a program could not open the device through vfio.

    `together` are the devices that are bound to vfio in the same run, this one among them.
    """
    group = group_of(address, root)
    if group is None:
        yield from _without(address, noiommu=noiommu, root=root)
        return
    for other in sorted((nics.folder(address, root) / "iommu_group/devices").iterdir()):
        driver = nics.driver_of(other.name, root)
        if other.name in together or driver is None or is_vfio(driver) or driver in _HARMLESS:
            continue
        if (other / "class").read_text().startswith("0x06"):  # bridges, which the kernel leaves in
            continue
        yield (
            f"{address} shares IOMMU group {group} with {other.name}, whose driver {driver} keeps the whole group from "
            f"vfio. Bind {other.name} too, or take a NIC that is alone in its group"
        )


def _without(address: str, *, noiommu: bool, root: Path) -> Iterator[str]:
    if not noiommu:
        yield (
            f"{address} is in no IOMMU group, and vfio works on groups: switch the IOMMU on in the firmware and by "
            "dpdk_iommu: on (then reboot), or give the driver uio_pci_generic, or take dpdk_iommu: noiommu, which is "
            "unsafe: whatever opens the device can then write to all of the host's memory"
        )
    elif (root / "sys/module/vfio").exists() and not (root / UNSAFE).exists():
        yield (
            "dpdk_iommu is noiommu, and this kernel was built without CONFIG_VFIO_NOIOMMU: give the driver "
            "uio_pci_generic, or switch an IOMMU on"
        )


def users(address: str, root: Path) -> list[str]:
    """Programs that have the device open through vfio or uio: unbinding it would wait for their end."""
    group = group_of(address, root)
    names = {f"/dev/vfio/{group}", f"/dev/vfio/noiommu-{group}"} if group else set()
    device = nics.folder(address, root)
    names |= {f"/dev/{one.name}" for one in device.glob("uio/uio*")}
    names |= {f"/dev/vfio/devices/{one.name}" for one in device.glob("vfio-dev/vfio*")}
    found = []
    for process in sorted((root / "proc").glob("[0-9]*")):
        try:
            opened = {str(one.readlink()) for one in (process / "fd").iterdir()}
            if opened & names:
                found.append(f"{(process / 'comm').read_text(errors='replace').strip()} (pid {process.name})")
        except OSError:
            continue  # it has ended, or is not ours to look into
    return found
