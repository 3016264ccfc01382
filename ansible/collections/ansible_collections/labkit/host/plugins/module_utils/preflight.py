"""Whether a host can be what its variables ask for: every reason why not, before anything is changed.

Changes nothing. What only one role knows (cores, hugepages, the boot loader) is judged by that role's own module.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import apt_trouble, cpus, hugepages, hugepages_look, packages
from .locks import wait_for_rpm
from .package_manager import Manager, PackagesRefused
from .state import StateUnreadable

STATE = "/var/lib/labkit"
ALONE = ".*"
"""Behind a release: that one, and none that is newer."""
PYTHON = (3, 9)
"""Oldest that the modules run on: that of EL 9."""
ROOM_MIB = {"/": 256, "/var": 256, "/boot": 64}
"""Free space below which not even the first package or initramfs is begun. What exactly a package takes is looked up
again before it is installed."""

ROOM_FILES = {"/": 2000, "/var": 500, "/boot": 20}
"""The same in inodes, on file systems that count them."""


@dataclass(frozen=True)
class Host:
    """What is known of the host from outside."""

    distribution: str
    """As in Ansible's facts."""
    version: str
    become_failed: str = ""
    """Why root's rights can't be had; empty: they can."""
    root: Path = Path("/")


def problems(wanted: Mapping[str, Any], host: Host) -> Iterator[str]:
    """All that is wrong, but for the devices."""
    yield from distribution(wanted.get("labkit_host_supported", {}), host)
    if sys.version_info < PYTHON:
        yield f"Python {sys.version.split()[0]} ({sys.executable}): expected {'.'.join(map(str, PYTHON))} or newer"
    yield from rights(host)
    yield from cores(wanted, host.root)
    yield from hugepages.problems(wanted, hugepages_look.look(host.root))
    yield from room(host.root)
    yield from room_for_files(host.root)
    yield from state_folder(host.root)


def distribution(supported: Mapping[str, str], host: Host) -> Iterator[str]:
    """Whether it is one that the roles know. `supported`: name to the lowest release, or such as 9.* for 9 alone."""
    asked = supported.get(host.distribution)
    if asked is None or not _within(host.version, asked):
        known = (
            f"{name} {one}" if one.endswith(ALONE) else f"{name} {one} or newer"
            for name, one in supported.items()
        )
        yield f"{host.distribution} {host.version} is not supported: expected {', '.join(known)}"


def _within(version: str, asked: str) -> bool:
    there, least = _numbers(version), _numbers(asked)
    return there[: len(least)] == least if asked.endswith(ALONE) else there >= least


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def rights(host: Host) -> Iterator[str]:
    """Whether the roles can become root."""
    if host.become_failed:
        yield (
            f"can't become root: {host.become_failed}. Let the user that Ansible connects as run sudo "
            "without a password, give --ask-become-pass, or connect as root (ansible_user)"
        )


def cores(wanted: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Whether the cores to isolate are there, and leave some."""
    isolated, share, cstate = (
        str(wanted.get(f"cpu_isolation_{name}", "")) for name in ("cpus", "rt_runtime_us", "max_cstate")
    )
    try:
        present = (root / cpus.PRESENT.lstrip("/")).read_text()
    except OSError:
        if isolated:
            yield f"cpu_isolation_cpus: this kernel does not report its cores ({cpus.PRESENT})"
        return
    yield from (f"cpu_isolation_cpus: {problem}" for problem in cpus.problems(isolated, present))
    more = cpus.problems("", present, rt_runtime_us=share, max_cstate=cstate)
    yield from (f"cpu_isolation: {problem}" for problem in more)


def offline_cores(wanted: Mapping[str, Any], root: Path = Path("/")) -> Iterator[str]:
    """Which of the cores to isolate don't run now. No reason to refuse: SMT may be switched on again."""
    try:
        isolated = cpus.parse(str(wanted.get("cpu_isolation_cpus", "")))
        present, online = ((root / path.lstrip("/")).read_text() for path in (cpus.PRESENT, cpus.ONLINE))
    except (OSError, ValueError):  # reported as a problem
        return
    if gone := cpus.offline(isolated & cpus.parse(present), online):
        yield (
            f"cpu_isolation_cpus: {cpus.listed(gone)} of {cpus.listed(isolated)} are offline (SMT off?): nothing can "
            "run there, and nothing is set for them"
        )


def room(root: Path, free: Callable[[Path], int] | None = None) -> Iterator[str]:
    """Whether there is any disk space to begin with."""
    for place, least_mib in ROOM_MIB.items():
        folder = root / place.lstrip("/")
        if not folder.is_dir():
            continue
        left_mib = (free or _free)(folder) >> 20
        if left_mib < least_mib:
            yield (
                f"the disk of {place} is full: {left_mib} MiB are free, expected at least {least_mib}. Make room "
                "(apt-get clean or dnf clean all, journalctl --vacuum-size=100M)"
            )


def room_for_files(root: Path, look: Callable[[Path], os.statvfs_result] = os.statvfs) -> Iterator[str]:
    """Whether there are inodes to begin with."""
    for place, least in ROOM_FILES.items():
        folder = root / place.lstrip("/")
        if not folder.is_dir():
            continue
        found = look(folder)
        if found.f_files and found.f_favail < least:  # btrfs and FAT have no inodes to count
            yield (
                f"the file system of {place} has no room for more files: {found.f_favail} inodes are free, expected at "
                f"least {least} (df -i {place}). Remove files that are not needed"
            )


def room_for_kernel(root: Path, free: Callable[[Path], int] | None = None) -> Iterator[str]:
    """Whether one more kernel fits into /boot: as large as the largest there, and half as much to write it beside."""
    folder = root / "boot"
    sizes = [
        max((file.stat().st_size for name in names for file in folder.glob(name) if _counts(file)), default=0)
        for names in (("vmlinu[xz]-*",), ("initrd.img-*", "initramfs-*"))
    ]
    need = sum(sizes) * 3 // 2
    left = (free or _free)(folder) if need else 0
    if left < need:
        yield (
            f"the disk of /boot is too full for another kernel: {left >> 20} MiB are free, expected at least "
            f"{need >> 20}, as the largest there takes. Remove kernels that are not needed (apt-get autoremove "
            "--purge, dnf remove --oldinstallonly)"
        )


def _counts(file: Path) -> bool:
    return file.is_file() and "rescue" not in file.name


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def state_folder(root: Path, writable: Callable[[Path], bool] | None = None) -> Iterator[str]:
    """Whether old values can be recorded. An ordinary user can't find out."""
    if os.geteuid() != 0 and writable is None:
        return
    place = root / STATE.lstrip("/")
    while not (place.exists() or place.is_symlink()):
        place = place.parent
    if not place.is_dir():
        yield f"{_shown(place, root)} is not a folder, so old values can't be kept in {STATE}. Move it away"
    elif not (writable or (lambda folder: os.access(folder, os.W_OK)))(place):
        yield (
            f"{_shown(place, root)} can't be written to, so old values can't be kept in {STATE}. "
            "Look whether the file system is mounted read-only (findmnt) or the folder immutable (lsattr -d)"
        )


def _shown(place: Path, root: Path) -> str:
    return f"/{place.relative_to(root)}"


def locks(timeout_s: float) -> Iterator[str]:
    """Whether another package manager is at work, and goes on for longer than this."""
    try:
        apt_trouble.wait_for_locks(timeout_s)
        wait_for_rpm(timeout_s)
    except PackagesRefused as error:
        yield str(error)


def wreck(timeout_s: int, root: Path = Path("/"), manager: Manager | None = None) -> Iterator[str]:
    """Whether an installation of somebody else was broken off, on which no package can be installed.

    To an ordinary user our own notes are closed, and with them whose it was; missing privileges are reported already.
    """
    try:
        packages.refuse_wreck(manager or packages.of_host(lock_timeout_s=timeout_s), root)
    except PermissionError:
        return
    except (PackagesRefused, StateUnreadable) as error:
        yield str(error)
