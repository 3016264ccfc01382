"""Whether NICs can be bound to vfio-pci here, for a driver of user space. Nothing is bound."""

from __future__ import annotations

from pathlib import Path

from labkit.doctor.model import Unavailable
from labkit.machine.pci_driver import VFIO, missing, unsafe

_GROUPS = Path("/sys/kernel/iommu_groups")


def vfio_pci() -> str:
    """The kernel has the driver, and an IOMMU (or was told to do without)."""
    if why := missing():
        raise Unavailable(why, fix="none on this kernel: vfio-pci needs one that has its module")
    groups = len(list(_GROUPS.iterdir())) if _GROUPS.exists() else 0
    if groups:
        return f"the kernel has {VFIO}, and {groups} IOMMU groups"
    if unsafe():
        return f"the kernel has {VFIO}, and no IOMMU (noiommu: unsafe)"
    raise Unavailable("no IOMMU is switched on, and vfio works on IOMMU groups")


def fix() -> str:
    """By the role."""
    return "none without an IOMMU: switch it on in the firmware; the role dpdk does the rest (dpdk_iommu: on)"
