"""Kernels, CPUs and NICs that Onload can use, and the steps from what a host has to what is wanted. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BUILD, UNLOAD, UNINSTALL, INSTALL, REBUILD, HELPER = (
    *("build", "unload", "uninstall", "install"),
    *("rebuild", "helper"),
)
"""Steps. `rebuild`: modules for one more kernel, beside what is installed. `helper`: bpf-link-helper."""
KERNELS = {
    (8, 1): ((4, 15), (5, 19)),
    (9, 0): ((5, 11), (6, 9)),
    (9, 1): ((5, 11), (6, 14)),
    (9, 2): ((5, 11), (7, 0)),
    (10, 0): ((6, 1), (7, 0)),
}
"""Release to the oldest and newest kernel that its README names."""
ZEN = 23
"""Family of AMD's CPUs from which on onload_install takes them."""
NATIVE = frozenset({"sfc", "xilinx_efct"})
"""Drivers of NICs that Onload drives itself: no AF_XDP, and nothing to register."""
OWN_DRIVER = "sfc"
"""The net driver that Onload brings along, in the place of the kernel's own."""
_GENERIC_BEFORE = {"e1000e": (99, 0), "vmxnet3": (6, 6)}
"""Drivers without native XDP, and the kernel that has it."""
_NAME = re.compile(r"[^\s/:]{1,15}")
"""What the kernel takes for the name of an interface (dev_valid_name)."""


@dataclass(frozen=True)
class Wanted:
    """What is to be installed."""

    version: str
    sha256: str
    """Of the archive."""
    sfc: bool
    """With the net driver for Solarflare NICs."""
    helper: bool
    """With bpf-link-helper, which attaches XDP programs in generic mode."""
    kernel: str
    """Release of the kernel that it is for (uname -r)."""


@dataclass(frozen=True)
class Stamp:
    """What was installed, as it was noted beside Onload's manifest."""

    version: str
    sha256: str
    sfc: bool
    kernels: Mapping[str, str] = field(default_factory=dict)
    """Kernel to srcversion of the module onload for it."""

    def text(self) -> str:
        """As it is written down."""
        return json.dumps({**vars(self), "kernels": dict(self.kernels)}, indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Found:
    """What a host has."""

    manifest: bool = False
    """Onload is installed, by whomever: it is the list of its files."""
    stamp: Stamp | None = None
    """None: somebody else has installed it, or the installation did not come to its end."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Kernel to srcversion of the module onload that lies there."""
    loaded: bool = False
    built_programs: bool = False
    """The tree has been built, all but modules."""
    built_modules: bool = False
    """It has modules for the kernel, with or without the net driver as is wanted."""
    helper: bool = False
    """It is installed."""
    built_helper: bool = False


def stamp_of(text: str) -> Stamp | None:
    """None for what is no stamp of ours."""
    try:
        found = json.loads(text)
        return Stamp(found["version"], found["sha256"], bool(found["sfc"]), dict(found["kernels"]))
    except (ValueError, KeyError, TypeError):
        return None


def steps(wanted: Wanted, found: Found) -> list[str]:
    """What is to be done, in this order. A build comes before what is there is taken away."""
    helper = [HELPER] if wanted.helper else []
    build = [] if found.built_programs and found.built_modules else [BUILD]
    unload = [UNLOAD] if found.loaded else []
    if not found.manifest:
        return [*build, *unload, INSTALL, *helper]
    stamp = found.stamp
    if stamp is None or (stamp.version, stamp.sha256, stamp.sfc) != (
        wanted.version,
        wanted.sha256,
        wanted.sfc,
    ):
        return [*build, *unload, UNINSTALL, INSTALL, *helper]
    missing = [] if found.helper else helper
    noted = stamp.kernels.get(wanted.kernel)
    if noted is None or found.modules.get(wanted.kernel) != noted:
        return [REBUILD, *missing]
    return missing


def compiles(todo: Sequence[str], found: Found) -> bool:
    """Whether a step needs a compiler."""
    return (
        BUILD in todo
        or (HELPER in todo and not found.built_helper)
        or (REBUILD in todo and not found.built_modules)
    )


def numbers(text: str) -> tuple[int, int] | None:
    """First two numbers of a version or a kernel's release; None: it does not begin with them."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def kernel_wrong(version: str, kernel: str) -> str | None:
    """Why this version is not for this kernel; None: it is, or nobody says."""
    release, running = numbers(version), numbers(kernel)
    if release is None or running is None or release not in KERNELS:
        return None
    oldest, newest = KERNELS[release]
    if oldest <= running <= newest:
        return None
    others = [".".join(map(str, one)) for one, (low, high) in KERNELS.items() if low <= running <= high]
    way = f"take Onload {' or '.join(others)}" if others else "take another kernel, or a newer Onload"
    return (
        f"Onload {version} is for kernels {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}, and this one is {kernel}"
        f": {way}"
    )


def source_wrong(version: str, environment: str | None) -> str | None:
    """Why the tree is not of this version, by its file versions.env; None: it is, or does not say."""
    found = re.search(r"^ONLOAD_VERSION=(\S+)$", environment or "", re.MULTILINE)
    if not found or re.match(rf"v?{re.escape(found.group(1))}(?![0-9])", version):
        return None
    return (
        f"openonload_version is {version}, and versions.env in the archive says {found.group(1)}: expected that, or it "
        f"with more behind it, such as {found.group(1)}-ef17681d"
    )


def cpu_unsupported(cpuinfo: str) -> str | None:
    """Why onload_install refuses this CPU, by the text of /proc/cpuinfo; None: it does not."""
    if not re.search(r"^vendor_id\s*:\s*AuthenticAMD$", cpuinfo, re.MULTILINE):
        return None
    family = re.search(r"^cpu family\s*:\s*(\d+)$", cpuinfo, re.MULTILINE)
    if family and int(family.group(1)) >= ZEN:
        return None
    name = family.group(1) if family else "unknown"
    return f"this CPU (AuthenticAMD, family {name}) is one that Onload refuses: expected family {ZEN} (Zen) or newer"


def native_xdp(driver: str | None, kernel: str) -> bool:
    """Whether a driver may have XDP of its own: False where it is known not to; that of others shows when they try."""
    since = _GENERIC_BEFORE.get(driver or "")
    running = numbers(kernel)
    return since is None or running is None or running >= since


def entries_wrong(wanted: Mapping[str, Any]) -> Iterator[str]:
    """All that is wrong with the list of interfaces as it was written, without asking the host."""
    names: set[str] = set()
    for at, entry in enumerate(wanted.get("openonload_interfaces") or []):
        name = str(entry.get("name") or "")
        if not name:
            yield f"openonload_interfaces[{at}].name is empty: expected an interface (ip link)"
        elif name in names:
            yield f"openonload_interfaces[{at}].name: {name} is named twice. Name it once"
        names.add(name)


def valid_name(name: str) -> bool:
    """Whether an interface may have this name: it is written into a file of the kernel's."""
    return bool(_NAME.fullmatch(name)) and name not in (".", "..")


@dataclass(frozen=True)
class Running:
    """What is loaded and registered."""

    loaded: bool
    current: bool = True
    """The module that is loaded is the one that is installed."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of sfc_resource in effect."""
    registered: Collection[str] = ()
    """Interfaces that were registered since it was loaded, and found sound."""


@dataclass(frozen=True)
class Registration:
    """What is to be done so that the wanted interfaces are registered, and no other."""

    unload: bool
    """First: only that takes back a registration, and options count from the next load on."""
    register: tuple[str, ...]


def registration(
    wanted: Sequence[str], options: Mapping[str, str], now: Running, first: Collection[str] = ()
) -> Registration:
    """The steps. An interface can't be taken out alone: the kernel answers EBUSY.

    `first`: interfaces without native XDP. bpf-link-helper attaches the program of whichever was registered first.
    """
    stays = now.loaded and not (now.registered and set(first) - set(now.registered))
    stays = stays and now.current and not set(now.registered) - set(wanted)
    stays = stays and all(now.options.get(name) == value for name, value in options.items())
    left = set(now.registered) if stays else set()
    order = sorted(wanted, key=lambda name: name not in first)
    return Registration(now.loaded and not stays, tuple(name for name in order if name not in left))
