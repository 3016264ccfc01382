"""The driver that a NIC on a PCI bus is bound to: recorded, bound, read back, restored, bound again after a boot.

By the kernel's driver_override, which is of one device. driverctl, which would keep it over a boot, is not used:
version 0.115 (Debian 13) also gives vfio-pci the device's model (new_id), and vfio-pci then takes every NIC of that
model that has no driver yet, at boot maybe the one by which the host is reached.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from . import iommu, links, nics, pci
from .programs import environment
from .protected import WayUnknown
from .state import Change, State

KIND = "driver"
DEADLINE_S = 30.0
"""How long an interface may take to come back with its driver: firmware is loaded, udev gives it its name."""


class DriverRefused(Exception):
    """The device is not bound to the driver. It is as it was before."""


class NotRestored(DriverRefused):
    """Nor could it be restored."""


@dataclass(frozen=True)
class Binding:
    """How a device is bound."""

    driver: str | None
    override: str | None
    """What the kernel's driver_override says; None: any driver that knows the device may take it."""
    interfaces: list[str]
    """Network interfaces that are there with this driver."""


def look(address: str, root: Path = Path("/")) -> Binding:
    """How it is bound now. Raises OSError where there is no such device."""
    override = (nics.folder(address, root) / "driver_override").read_text().strip()
    return Binding(
        nics.driver_of(address, root),
        None if override in ("", "(null)") else override,
        nics.interfaces_of(address, root),
    )


def change(
    role: str,
    text: str,
    driver: str,
    *,
    over_ssh: bool,
    management: list[str],
    together: Collection[str] = (),
    noiommu: bool = False,
    boot_arguments: Collection[str] = (),
    root: Path = Path("/"),
    check: bool = False,
) -> tuple[bool, Binding]:
    """Bind the device to the driver, now and after every boot. Returns whether that changes anything, and the old.

    With `check`, kernel arguments that are not in effect yet are taken for some that a run will have booted with by
    then, and the IOMMU for one that they switch on. Raises DriverRefused and protected.WayUnknown.
    """
    address = pci.address(text)
    if address is None:
        raise DriverRefused(f"{text} is no PCI address: expected one such as 0000:03:00.0 (lspci -D)")
    interfaces = links.interfaces(over_ssh=over_ssh, management=management, root=root)
    found = list(nics.problems(address, interfaces, root)) or list(
        nics.losses(address, driver, interfaces, root)
    )
    to_come = check and not set(boot_arguments) <= set(
        (root / "proc/cmdline").read_text(errors="replace").split()
    )
    if not found and iommu.is_vfio(driver) and not to_come:
        others = {pci.address(one) or one for one in together} | {address}
        found = list(iommu.problems(address, together=others, noiommu=noiommu, root=root))
    if found:
        raise DriverRefused("; ".join(found))
    before = look(address, root)
    state = State(role, root)
    noted = next((one for one in state.changes() if (one.kind, one.target) == (KIND, address)), None)
    bound = (before.driver, before.override) == (driver, driver)
    if bound and noted and noted.persist and noted.new == driver:
        return False, before
    if not bound:
        load(driver, root, check=check)
    if check:
        return True, before
    state.note(KIND, address, {**asdict(before), "card": nics.card(address, root)}, driver, persist=True)
    if bound:
        return True, before
    try:
        bind(address, driver, driver, root)
    except DriverRefused as error:
        try:
            put_back(address, before, root)
        except (DriverRefused, OSError) as worse:
            raise NotRestored(
                f"{error}; AND IT COULD NOT BE GIVEN BACK TO {before.driver}: {worse}"
            ) from error
        if noted:
            state.note(KIND, address, noted.old, noted.new, persist=noted.persist)
        else:
            state.forget(Change(KIND, address, None))
        raise DriverRefused(f"{error}; it has its old driver {before.driver or '(none)'} again") from error
    return True, before


def missing(driver: str, root: Path = Path("/")) -> str | None:
    """Why the kernel that runs has no such driver; None: it has one."""
    try:
        load(driver, root, check=True)
    except DriverRefused as error:
        return str(error)
    return None


def load(driver: str, root: Path, *, check: bool) -> None:
    """Have the driver there, or look whether it could be."""
    if (root / "sys/bus/pci/drivers" / driver).exists():
        return
    command = ["modprobe", *(["--dry-run"] if check else []), driver]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env=environment()
        )
    except FileNotFoundError as error:
        raise DriverRefused(f"driver {driver} is not loaded, and modprobe is not installed (kmod)") from error
    if done.returncode:
        raise DriverRefused(
            f"this kernel has no driver {driver} ({done.stderr.strip()}): expected one such as vfio-pci or "
            "uio_pci_generic (Ubuntu has that in linux-modules-extra-KERNEL)"
        )
    if not check and not (root / "sys/bus/pci/drivers" / driver).exists():
        raise DriverRefused(f"module {driver} is loaded, and is no driver of PCI devices")


def bind(address: str, driver: str | None, override: str | None, root: Path) -> None:
    """Bind it, read it back, and leave driver_override so."""
    device = nics.folder(address, root)
    if nics.driver_of(address, root) != driver:
        using = iommu.users(address, root)
        if using:
            raise DriverRefused(f"{address} is in use by {', '.join(using)}: end that first")
        # Named before the old driver lets go, so that no third one takes the device in between.
        _write(device / "driver_override", driver or "")
        if nics.driver_of(address, root):
            _write(device / "driver/unbind", address)
        if driver:
            _write(root / "sys/bus/pci/drivers_probe", address)
        got = nics.driver_of(address, root)
        if got != driver:
            wanted = driver or "no driver"
            raise DriverRefused(
                f"{address}: bound to {wanted}, and found it with {got or 'none'} (the kernel's log says why)"
            )
    _write(device / "driver_override", override or "")


def _write(file: Path, text: str) -> None:
    """The kernel takes an empty line for nothing at all."""
    try:
        file.write_text(text + "\n")
    except OSError as error:
        raise DriverRefused(f"{file}: writing {text!r} failed: {error.strerror}") from error


def put_back(address: str, old: Binding, root: Path) -> None:
    """Bind it as it was, and wait until its interfaces are there again. Raises DriverRefused."""
    bind(address, old.driver, old.override, root)
    deadline = time.monotonic() + DEADLINE_S
    while not set(old.interfaces) <= set(nics.interfaces_of(address, root)):
        if time.monotonic() >= deadline:
            there = nics.interfaces_of(address, root)
            raise DriverRefused(
                f"{address} has its driver {old.driver} again, but after {DEADLINE_S:.0f} s not its interface "
                f"{', '.join(old.interfaces)} (found {', '.join(there) or 'none'})"
            )
        time.sleep(0.1)


def to_kernel(address: str, root: Path) -> str:
    """Have the driver take it that the kernel itself would give it. Returns its name, once there is an interface.

    Raises DriverRefused.
    """
    device = nics.folder(address, root)
    using = iommu.users(address, root)
    if using:
        raise DriverRefused(f"{address} is in use by {', '.join(using)}: end that first")
    alias = device / "modalias"
    if alias.exists():  # what its module lacks is said below
        command = ["modprobe", "--quiet", alias.read_text().strip()]
        subprocess.run(command, capture_output=True, check=False, timeout=60, env=environment())
    _write(device / "driver_override", "")
    if nics.driver_of(address, root):
        _write(device / "driver/unbind", address)
    _write(root / "sys/bus/pci/drivers_probe", address)
    deadline = time.monotonic() + DEADLINE_S
    while not nics.interfaces_of(address, root):
        got = nics.driver_of(address, root)
        if got is None or iommu.is_vfio(got) or time.monotonic() >= deadline:
            raise DriverRefused(
                f"{address} has the driver {got or 'none'} and no interface: does this kernel have a driver for it?"
            )
        time.sleep(0.1)
    _wait_for_udev()
    return nics.driver_of(address, root) or ""


def _wait_for_udev() -> None:
    """Until the interface has its name. Where there is no udev it keeps the kernel's."""
    with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
        subprocess.run(
            ["udevadm", "settle"], capture_output=True, check=False, timeout=DEADLINE_S, env=environment()
        )


def again(change: Change, root: Path) -> None:
    """Bind it once more, after a boot. Raises DriverRefused, WayUnknown and OSError.

    Refuses a device that the way to this host has come to go over, and another card at its address: this runs before
    there is a network, so nothing else would show which one the host is reached by. Only its interface has its
    MAC address, and names are given in the order that interfaces come: so none is taken before it has one.
    """
    address = change.target
    waits = change.old["interfaces"] and nics.driver_of(address, root) != change.new
    if waits and not nics.interfaces_of(address, root):
        raise DriverRefused(
            f"{address} has no interface yet (it had {', '.join(change.old['interfaces'])}): left alone"
        )
    moved = nics.another_card(change.old.get("card"), address, root)
    if moved:
        raise DriverRefused(f"{moved}: left alone")
    interfaces = links.interfaces(over_ssh=False, management=[], root=root)
    found = list(nics.problems(address, interfaces, root)) or list(
        nics.losses(address, change.new, interfaces, root)
    )
    if found:
        raise DriverRefused("; ".join(found))
    load(change.new, root, check=False)
    bind(address, change.new, change.new, root)


def restore(change: Change, root: Path) -> str | None:
    """Give it back; None when done, else why not."""
    address = change.target
    if not nics.folder(address, root).exists():
        return f"{address} is no longer there (its driver was {change.old['driver']})"
    moved = nics.another_card(change.old.get("card"), address, root)
    if moved:
        return f"{moved}: left alone"
    old = Binding(**{key: value for key, value in change.old.items() if key != "card"})
    now = look(address, root)
    if (now.driver, now.override) == (old.driver, old.override):
        return None
    try:
        interfaces = links.interfaces(over_ssh=False, management=[], root=root)
        for interface in interfaces:
            if interface.pci == address and interface.protected and now.driver != old.driver:
                return f"the way to this host goes over it: {'; '.join(interface.protected)}"
        lost = list(nics.losses(address, old.driver, interfaces, root))
        if lost:
            return "; ".join(lost)
        if old.driver:
            load(old.driver, root, check=False)
        put_back(address, old, root)
    except (DriverRefused, WayUnknown, OSError) as error:
        return str(error)
    return None
