"""Whether a PCI device is a NIC that may be taken from the kernel. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .links import BIFURCATED, Interface

CLASS = "0x02"
"""First byte of the PCI class of network controllers."""
_WITHOUT_INTERFACES = "vfio|uio|^pci-stub$"
"""Drivers that make no network interfaces."""


def folder(address: str, root: Path) -> Path:
    """What the kernel reports of a PCI device."""
    return root / "sys/bus/pci/devices" / address


def driver_of(address: str, root: Path) -> str | None:
    """The driver that a PCI device is bound to."""
    link = folder(address, root) / "driver"
    return link.resolve().name if link.exists() else None


def interfaces_of(address: str, root: Path) -> list[str]:
    """Network interfaces on a PCI device, also those on what lies between (virtio, auxiliary devices)."""
    device = folder(address, root)
    # Links lead to other devices: to the physical function, to the virtual ones.
    inside = [device, *(one for one in device.glob("*/") if not one.is_symlink())]
    return sorted({one.name for part in inside for one in part.glob("net/*")})


def card(address: str, root: Path) -> dict[str, Any]:
    """What identifies the card at an address: cards that are added or removed move the addresses of others.

    Its model by four numbers, and the addresses that it was made with (MAC), as far as an interface has them now.
    """
    device = folder(address, root)
    numbers = ("vendor", "device", "subsystem_vendor", "subsystem_device")
    macs = []
    for name in interfaces_of(address, root):
        found = root / "sys/class/net" / name
        if _read(found / "addr_assign_type") == "0":  # NET_ADDR_PERM: nobody has set another
            macs.append(_read(found / "address"))
    return {"model": ":".join(_read(device / one) for one in numbers), "macs": sorted(macs)}


def another_card(noted: Mapping[str, Any] | None, address: str, root: Path) -> str | None:
    """Why the card there is not the one that was noted; None: nothing says so."""
    if noted is None:
        return None
    now = card(address, root)
    if now["model"] != noted["model"]:
        return f"another card is at {address} by now (model {now['model']}, it was {noted['model']})"
    if now["macs"] and noted["macs"] and now["macs"] != noted["macs"]:
        return f"another card is at {address} by now ({', '.join(now['macs'])}, it was {', '.join(noted['macs'])})"
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def problems(
    address: str, interfaces: Sequence[Interface], root: Path = Path("/"), *, bound: bool = True
) -> Iterator[str]:
    """Why DPDK is not to have this device; `interfaces` are all that the host has.

    `bound`: it is to be bound to another driver, which some must not be.
    """
    device = folder(address, root)
    if not device.exists():
        yield f"this host has no PCI device {address}; {_there(interfaces, device.parent)}"
        return
    kind = (device / "class").read_text().strip()
    if not kind.startswith(CLASS):
        yield f"{address} is not a NIC (PCI class {kind}, expected {CLASS}....); {_there(interfaces, device.parent)}"
        return
    for interface in interfaces:
        if interface.pci == address and interface.protected:
            yield (
                f"{interface.name} is left alone, because the way to this host needs it: "
                f"{'; '.join(interface.protected)}. Take another NIC, or take it out of the list"
            )
    driver = driver_of(address, root)
    if driver in BIFURCATED:
        if not bound:
            return
        yield f"{address} must keep its driver {driver}: DPDK works beside it. Take it out of the list"
    elif (
        driver
        and not re.search(_WITHOUT_INTERFACES, driver)
        and address not in {one.pci for one in interfaces}
    ):
        yield (
            f"{address} has the driver {driver} and no interface that is seen here: somebody else may have it, in "
            "another network namespace. Give it back from there first"
        )


def losses(
    address: str, driver: str | None, interfaces: Sequence[Interface], root: Path = Path("/")
) -> Iterator[str]:
    """Why its present driver is not to let go of it for another: what would be lost no revert brings back."""
    if driver_of(address, root) in (None, driver):
        return
    for interface in interfaces:
        if interface.pci == address and interface.uses:
            yield (
                f"{interface.name} on {address} is in use, and what it has would be lost: {'; '.join(interface.uses)}. "
                "Take that away first, also from this host's network configuration, or take it out of the list"
            )
    functions = _read(folder(address, root) / "sriov_numvfs")
    if functions not in ("", "0"):
        yield (
            f"{address} has {functions} virtual functions, and drivers take those away when they let go of it: end "
            "what uses them, and write 0 to its sriov_numvfs first"
        )


def _there(interfaces: Sequence[Interface], devices: Path) -> str:
    """The NICs that there are."""
    names: dict[str, list[str]] = {}
    for interface in interfaces:
        if interface.pci:
            names.setdefault(interface.pci, []).append(interface.name)
    found = [
        device.name + (f" ({', '.join(names[device.name])})" if device.name in names else "")
        for device in (sorted(devices.iterdir()) if devices.is_dir() else [])
        if (device / "class").read_text().startswith(CLASS)
    ]
    return f"its NICs are {', '.join(found)}" if found else "it has no NIC on a PCI bus"
