"""Whether interfaces of this machine are Onload's, by what the role openonload noted of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labkit.machine.roles import host_module


def unregistered(interfaces: Sequence[str], root: Path = Path("/")) -> str:
    """Why one of these is not Onload's; empty: they are."""
    native = host_module("onload_plan").NATIVE
    registered = host_module("onload_register").registered(root)
    for name in interfaces:
        driver = root / "sys/class/net" / name / "device/driver"
        if name not in registered and not (driver.is_symlink() and driver.resolve().name in native):
            return f"{name} is not registered with Onload by the role openonload"
    return ""
