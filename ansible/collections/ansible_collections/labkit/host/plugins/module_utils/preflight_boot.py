"""Whether a host's kernel and command line can be made what its variables ask for. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import boot_arguments, boot_kernels, boot_line, cpus, hugepages, iommu, kernel_words, nics, preflight
from .boot_commands import CommandFailed, Run, run
from .boot_loaders import Loader, NoLoader, loader
from .boot_look import no_systemd
from .links import Interface

ARGUMENT_LISTS = ("lowlatency_kernel", "cpu_isolation", "hugepages", "dpdk")
"""Roles whose list of kernel arguments a host may set itself, besides boot_extra_arguments."""
_HERE = (
    "it takes a reboot, and Ansible runs on this machine itself. Run site.yml on another one and reach this one over "
    "SSH, use local.yml, or leave the kernel alone with -e boot_reboot=false"
)


def problems(
    wanted: Mapping[str, Any], root: Path = Path("/"), run: Run = run, *, not_here: bool = False
) -> Iterator[str]:
    """Why not, if anything has to be changed: a host that was given all of it from outside needs no boot loader.

    `not_here`: Ansible itself runs on this host, so it cannot reboot it as it is asked to.
    """
    faults = boot_arguments.faults([*_given(wanted), *_isolating(wanted)])
    yield from faults
    reasons = list(_not_yet(wanted, root)) if not faults else []
    if not reasons:
        return
    asked = f"To boot what is requested ({'; '.join(reasons)}): "
    if not_here:
        yield asked + _HERE
    try:
        menu = loader(run, root)
    except NoLoader as error:
        yield asked + str(error)
        return
    except OSError as error:
        yield asked + _undetermined(error)
        return
    release = str(wanted.get("lowlatency_kernel_release", ""))
    to_come = wanted.get("lowlatency_kernel_packages") and release not in boot_kernels.installed(root)
    ask: list[Callable[[], str | None]] = [
        menu.refusal,
        lambda: no_systemd(root),
        lambda: _disputed(wanted, menu),
    ]
    if release and not to_come:
        ask.insert(0, lambda: _unfit(release, wanted, root))
    if _installs(wanted, root):
        ask.append(lambda: next(preflight.room_for_kernel(root), None))
    cannots = [_answer(one) for one in ask]
    yield from (asked + cannot for cannot in dict.fromkeys(cannots) if cannot)


def blacklisted(wanted: Mapping[str, Any]) -> dict[str, str]:
    """Modules of the kernel that the inventory forbids, with the argument."""
    return boot_arguments.blacklisted(_given(wanted))


def lockouts(
    wanted: Mapping[str, Any], interfaces: Sequence[Interface], root: Path = Path("/")
) -> Iterator[str]:
    """Which of them drive an interface that the way to this host needs; `interfaces` are all that it has."""
    forbidden = blacklisted(wanted)
    for interface in interfaces:
        if not interface.protected:
            continue
        # A virtio NIC has one driver, and its PCI device another.
        names = {interface.driver, nics.driver_of(interface.pci, root) if interface.pci else None} - {None}
        for name in sorted(names):
            argument = forbidden.get(str(name).replace("-", "_"))
            if argument:
                yield (
                    f"kernel argument {argument}: {interface.name} has the driver {name}, and the way to this host "
                    f"needs it: {'; '.join(interface.protected)}. Leave it out"
                )


def _answer(ask: Callable[[], str | None]) -> str | None:
    """Why not, or why that can't be determined: an ordinary user can't read GRUB's files and disks."""
    try:
        return ask()
    except (CommandFailed, OSError) as error:
        return _undetermined(error)


def _undetermined(error: Exception) -> str:
    return (
        f"what GRUB would boot can't be determined ({error}). That takes root's rights, and a root file system that "
        "GRUB finds on a disk (not an overlay)"
    )


def _unfit(release: str, wanted: Mapping[str, Any], root: Path) -> str | None:
    return _not_installed(release, root) or boot_kernels.unfit(release, root=root, **_kind(wanted))


def _given(wanted: Mapping[str, Any]) -> list[str]:
    """Arguments that are written in the inventory."""
    names = [*(f"{role}_boot_arguments" for role in ARGUMENT_LISTS), "boot_extra_arguments"]
    return [str(argument) for name in names for argument in wanted.get(name, [])]


def _kind(wanted: Mapping[str, Any]) -> dict[str, str]:
    return {
        "flavour": str(wanted.get("lowlatency_kernel_flavour", "generic")),
        "preempt": str(wanted.get("lowlatency_kernel_preempt", "")),
    }


def another_kernel(wanted: Mapping[str, Any], root: Path = Path("/")) -> list[str]:
    """Why another kernel than that which runs is to be booted; empty: it is not."""
    release = str(wanted.get("lowlatency_kernel_release", ""))
    return boot_kernels.not_running(boot_kernels.running(root), release=release, **_kind(wanted))


def _installs(wanted: Mapping[str, Any], root: Path) -> bool:
    """Whether a kernel may be installed, and not merely one be booted that is there."""
    if not another_kernel(wanted, root):
        return False
    packages = wanted.get("lowlatency_kernel_packages") or _kind(wanted)["flavour"] != "generic"
    return bool(packages) and wanted.get("lowlatency_kernel_release") not in boot_kernels.installed(root)


def _not_yet(wanted: Mapping[str, Any], root: Path) -> Iterator[str]:
    """What of it does not run already."""
    now = boot_kernels.running(root)
    yield from another_kernel(wanted, root)
    yield from boot_arguments.missing(_given(wanted), now.arguments, now.last)
    yield from _not_isolated(str(wanted.get("cpu_isolation_cpus", "")), now)
    if _wants_iommu(wanted) and not any((root / "sys/kernel/iommu_groups").glob("*")):
        yield "no IOMMU is on"
    pools = [pool for pool in wanted.get("hugepages_pools", []) if hugepages.scope(pool) == hugepages.BOOT]
    if pools and not any(argument.startswith("hugepages=") for argument in now.arguments):
        yield "no hugepages are reserved at boot"


def _wants_iommu(wanted: Mapping[str, Any]) -> bool:
    asked = wanted.get("dpdk_iommu", "auto")
    vfio = any(iommu.is_vfio(item.get("driver")) for item in wanted.get("dpdk_devices", []))
    return asked == "on" or (asked == "auto" and vfio)


def _isolating(wanted: Mapping[str, Any]) -> list[str]:
    """Arguments with which role cpu_isolation will take its cores, unless the inventory writes them all."""
    try:
        cores = cpus.listed(cpus.parse(str(wanted.get("cpu_isolation_cpus", ""))))
    except ValueError:
        return []  # reported as a problem of its own
    if not cores or "cpu_isolation_boot_arguments" in wanted:
        return []
    offloaded = any(kernel_words.key(argument) == "rcu_nocbs" for argument in _given(wanted))
    return [
        f"isolcpus={cores}",
        *([f"nohz_full={cores}"] if wanted.get("cpu_isolation_nohz_full", True) else []),
        *([f"rcu_nocbs={cores}"] if wanted.get("cpu_isolation_rcu_nocbs", True) and not offloaded else []),
    ]


def _disputed(wanted: Mapping[str, Any], menu: Loader) -> str | None:
    """Who sets the same on the default's command line so that it counts, and not what is wanted; None: nobody."""
    default = menu.default()
    if default is None:
        return None
    return boot_line.lost(default, menu.ours(), [*_given(wanted), *_isolating(wanted)], menu.root)


def _not_isolated(cores: str, now: boot_kernels.Running) -> Iterator[str]:
    try:
        wanted = cpus.parse(cores)
    except ValueError:
        return  # reported as a problem of its own
    if wanted and not kernel_words.same_cores(cpus.listed(wanted), now.isolated or "", now.last):
        yield f"cores {cores} are not isolated"


def _not_installed(release: str, root: Path) -> str | None:
    there = boot_kernels.installed(root)
    if release in there:
        return None
    return f"lowlatency_kernel_release: no kernel {release} is installed, but {', '.join(there) or 'none'}"
