"""What memory and hugepages a host has, and who else sets hugepages there."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

from . import bls, boot_undo, grub_defaults, hugepages, tuned
from .grub import ARGUMENTS_ROLE
from .hugepages import Memory
from .hugepools import figure
from .state import StateUnreadable

ARGUMENT = r"\b((?:default_)?hugepagesz?=[^\s\"']+)"
SYSCTLS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")


def look(root: Path = Path("/")) -> Memory:
    """What the host has, and who else sets hugepages there."""
    meminfo = (root / "proc/meminfo").read_text()
    nodes = {
        int(folder.name[4:]): figure("MemTotal", (folder / "meminfo").read_text())
        for folder in (root / "sys/devices/system/node").glob("node[0-9]*")
    }
    pattern = re.compile(r"hugepages-(\d+)kB")
    sizes = [pattern.fullmatch(path.name) for path in (root / "sys/kernel/mm/hugepages").glob("hugepages-*")]
    return Memory(
        total_kib=figure("MemTotal", meminfo),
        nodes_kib=nodes,
        sizes_kib=frozenset(int(found.group(1)) for found in sizes if found),
        default_kib=figure("Hugepagesize", meminfo) or hugepages.DEFAULT_SIZE_KIB,
        kernel=platform.release(),
        sysctls=_lines(_sysctl_files(root), r"^\s*-?vm[./]nr_hugepages\s*=\s*(\d+)", root),
        arguments={**_lines(_grub_files(root), rf"^[^#\n]*{ARGUMENT}", root), **_entries(root)},
    )


def _sysctl_files(root: Path) -> list[Path]:
    files: dict[str, Path] = {}
    for folder in SYSCTLS:  # the first of one name hides the others (sysctl.d(5))
        for path in sorted((root / folder).glob("*.conf")):
            files.setdefault(path.name, path)
    return [*files.values(), root / "etc/sysctl.conf"]


def _grub_files(root: Path) -> list[Path]:
    files = [
        root / "etc/default/grub",
        *sorted((root / "etc/default/grub.d").glob("*.cfg")),
        root / tuned.BOOT,
    ]
    return [file for file in files if file != root / grub_defaults.ARGUMENTS.lstrip("/")]


def _entries(root: Path) -> dict[str, str]:
    """EL's boot entries that have such an argument, each with the last; but for those that we have ever added."""
    files = [
        file
        for file in sorted((root / bls.ENTRIES.lstrip("/")).glob("*.conf"))
        if "-0-rescue" not in file.name
    ]
    try:
        found = {file: re.findall(ARGUMENT, file.read_text(errors="replace")) for file in files}
        ours = boot_undo.noted(ARGUMENTS_ROLE, root) if any(found.values()) else []
    except (PermissionError, StateUnreadable):  # reported to root
        return {}
    theirs = {file: [word for word in words if word not in ours] for file, words in found.items()}
    return {f"/{file.relative_to(root)}": words[-1] for file, words in theirs.items() if words}


def _lines(files: Sequence[Path], pattern: str, root: Path) -> dict[str, str]:
    """Files that have a line like that, each with what is looked for in the last."""
    found = {}
    seen: set[Path] = set()
    for file in files:
        try:
            values = re.findall(pattern, file.read_text(errors="replace"), re.MULTILINE)
        except OSError:  # not there, a folder, or root's alone: reported to root
            continue
        if values and file.resolve() not in seen:  # /etc/sysctl.d/99-sysctl.conf links to /etc/sysctl.conf
            seen.add(file.resolve())
            found[f"/{file.relative_to(root)}"] = values[-1]
    return found
