"""What a kernel that is locked down (Secure Boot) keeps from its host. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""One byte after four of attributes (UEFI specification, 3.3 globally defined variables)."""


def mode(root: Path = Path("/")) -> str:
    """none, integrity or confidentiality."""
    try:
        found = re.search(r"\[(\w+)\]", (root / "sys/kernel/security/lockdown").read_text())
    except OSError:
        return "none"
    return found.group(1) if found else "none"


def secure_boot(root: Path = Path("/")) -> bool:
    """Whether the firmware starts signed kernels only."""
    try:
        return (root / _SECURE_BOOT).read_bytes()[4:5] == b"\1"
    except OSError:
        return False


def problems(wanted: Mapping[str, Any], root: Path = Path("/")) -> Iterator[str]:
    """Drivers that DPDK can't use then: registers are mapped through sysfs, which lockdown forbids."""
    if mode(root) == "none":
        return
    for at, item in enumerate(wanted.get("dpdk_devices", [])):
        if "uio" in str(item.get("driver", "")):
            yield (
                f"dpdk_devices[{at}].driver: {item['driver']} is of no use here: this kernel is locked down "
                f"({mode(root)}) and lets no program map a device's registers. Take vfio-pci and an IOMMU, or switch "
                "Secure Boot off in the firmware"
            )


def notes(wanted: Mapping[str, Any], root: Path = Path("/")) -> Iterator[str]:
    """What is worth knowing before a kernel is changed."""
    if secure_boot(root) and wanted.get("lowlatency_kernel_flavour", "generic") != "generic":
        yield (
            "Secure Boot is on: a kernel that is not signed does not start, and the host comes back on the old one"
        )
