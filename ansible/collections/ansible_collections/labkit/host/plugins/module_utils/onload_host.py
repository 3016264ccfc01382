"""Whether a host can have Onload, and the interfaces that its variables name. Changes nothing."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import boot_kernels, lockdown, onload_install, onload_plan, pci, services
from .links import Interface, Untouchable
from .onload_plan import NATIVE

Touchable = Callable[[str], Interface]
"""links.touchable of this host."""
ROLE = "openonload"
_AF_XDP = 44
_OPTIONS = ("CONFIG_XDP_SOCKETS", "CONFIG_BPF_SYSCALL")


def asked_for(wanted: Mapping[str, Any]) -> bool:
    """Whether the variables ask for Onload."""
    return bool(wanted.get("openonload_version")) and wanted.get("openonload_state", "present") == "present"


def problems(
    wanted: Mapping[str, Any],
    touchable: Touchable,
    root: Path = Path("/"),
    *,
    another_kernel: bool = False,
) -> Iterator[str]:
    """All that is wrong, before anything is changed. `another_kernel`: this one won't run when it is installed."""
    if not asked_for(wanted):
        return
    wrong = list(onload_plan.entries_wrong(wanted))
    yield from wrong
    kernel = os.uname().release
    with contextlib.suppress(
        PermissionError
    ):  # an ordinary user's; then missing privileges are reported already
        if reason := onload_install.foreign(ROLE, root):
            yield reason
    native = []
    generic = []
    for at, entry in enumerate(wanted.get("openonload_interfaces") or []) if not wrong else ():
        try:
            found = _interface(str(entry["name"]), touchable, _taken(wanted), root)
        except Untouchable as error:
            yield f"openonload_interfaces[{at}].name: {error}"
            continue
        native.append(found.driver in NATIVE)
        if another_kernel or onload_plan.native_xdp(found.driver, kernel):
            continue
        generic.append(found.name)
        if not wanted.get("openonload_generic_xdp"):
            yield (
                f"openonload_interfaces[{at}].name: {found.name} has the driver {found.driver}, which has no XDP of "
                "its own: set openonload_generic_xdp to true, with which Onload's bpf-link-helper is installed"
            )
    if len(generic) > 1:
        yield (
            f"openonload_interfaces: {' and '.join(generic)} have no XDP of their own, and Onload's bpf-link-helper "
            "attaches the program of the one that is registered first to each of them: name one"
        )
    if not all(native) and not services.has_systemd(root):
        yield "openonload_interfaces: systemd does not run on this host, so no interface can be registered at boot"
    yield from machine(wanted, kernel, root, af_xdp=not all(native), another_kernel=another_kernel)


def machine(
    wanted: Mapping[str, Any], kernel: str, root: Path, *, af_xdp: bool, another_kernel: bool = False
) -> Iterator[str]:
    """Whether CPU, firmware and kernel are ones that Onload runs on."""
    if os.uname().machine != "x86_64":
        yield f"Onload is installed on x86_64 alone, and this host is {os.uname().machine}"
    unsupported = onload_plan.cpu_unsupported(_text(root / "proc/cpuinfo") or "")
    if unsupported and not wanted.get("openonload_allow_unsupported_cpu"):
        yield f"{unsupported}, or openonload_allow_unsupported_cpu: true, at your own risk"
    if reason := unsigned_refused(root):
        yield reason
    if another_kernel:
        return
    if reason := onload_plan.kernel_wrong(str(wanted["openonload_version"]), kernel):
        yield f"openonload_version: {reason}"
    if af_xdp and (missing := _missing_options(kernel, root)):
        yield (
            f"this kernel ({kernel}) is built without {' and '.join(missing)}, which Onload needs for NICs that it "
            "does not drive itself: expected =y. Take another kernel"
        )


def unsigned_refused(root: Path = Path("/")) -> str | None:
    """Why the kernel would not load Onload's modules, which nobody has signed; None: it would."""
    if lockdown.mode(root) != "none":
        how = f"this kernel is locked down ({lockdown.mode(root)})"
    elif lockdown.secure_boot(root):
        how = "Secure Boot is on"
    elif _text(root / "sys/module/module/parameters/sig_enforce") == "Y":
        how = "this kernel was started with module.sig_enforce"
    else:
        return None
    return (
        f"{how}, and Onload's modules are not signed: the kernel refuses them. Switch it off, or take "
        "openonload_version out"
    )


def _interface(name: str, touchable: Touchable, taken: Collection[str | None], root: Path) -> Interface:
    """The interface, if Onload may have it. Raises Untouchable."""
    found = touchable(name)
    flags = _text(root / "sys/class/net" / found.name / "flags")
    if flags and int(flags, 16) & 0x8:  # IFF_LOOPBACK
        raise Untouchable(f"{found.name} is a loopback interface, which Onload must never have. Take it out")
    if not onload_plan.valid_name(found.name):
        raise Untouchable(
            f"{found.name!r} is no name that can be written to the kernel. Rename the interface"
        )
    if found.pci and found.pci in taken:
        raise Untouchable(
            f"{found.name} is on {found.pci}, which dpdk_devices takes from the kernel. Name it in one of them"
        )
    return found


def _taken(wanted: Mapping[str, Any]) -> set[str | None]:
    return {pci.address(str(item["pci"])) for item in wanted.get("dpdk_devices") or []}


def interfaces(
    wanted: Mapping[str, Any], touchable: Touchable, root: Path = Path("/")
) -> tuple[list[str], list[str]]:
    """Names of those to register for AF_XDP, and of those that Onload drives itself. Raises Untouchable."""
    found = [
        _interface(str(entry["name"]), touchable, _taken(wanted), root)
        for entry in wanted.get("openonload_interfaces") or []
    ]
    return [one.name for one in found if one.driver not in NATIVE], [
        one.name for one in found if one.driver in NATIVE
    ]


def without_native_xdp(names: Sequence[str], touchable: Touchable) -> list[str]:
    """Those of the interfaces whose drivers are known to have no XDP of their own."""
    kernel = os.uname().release
    return [name for name in names if not onload_plan.native_xdp(touchable(name).driver, kernel)]


def queues(name: str, root: Path = Path("/")) -> int:
    """How many queues an interface receives by."""
    return len(list((root / "sys/class/net" / name / "queues").glob("rx-*")))


def _missing_options(kernel: str, root: Path) -> list[str]:
    """Options of the kernel that are off. Where its configuration lies nowhere, AF_XDP itself is tried."""
    config = boot_kernels.config(kernel, root)
    if not config:
        return [] if _has_af_xdp() else ["CONFIG_XDP_SOCKETS"]
    return [option for option in _OPTIONS if config.get(option) != "y"]


def _has_af_xdp() -> bool:
    try:
        socket.socket(_AF_XDP, socket.SOCK_RAW).close()
    except PermissionError:
        return True  # an ordinary user's: it is there
    except OSError:
        return False
    return True


def no_headers(kernel: str, root: Path = Path("/")) -> str | None:
    """Why no module can be built for the kernel; None: it can."""
    folder = f"/lib/modules/{kernel}/build"
    if (root / folder.lstrip("/") / "Makefile").exists():
        return None
    return (
        f"the headers of this kernel are not there ({folder}): expected the package linux-headers-{kernel} or "
        f"kernel-devel-{kernel}. Where the package index has it no longer, update the kernel and reboot"
    )


def _text(path: Path) -> str | None:
    """None where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
