"""Hugepages for the time of a lab: allocates those that are missing; reverted afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.machine.journal import Journal
from labkit.machine.privilege import Privileges
from labkit.machine.tunables import HugepagesTunable, turn, undo

_NODES = Path("/sys/devices/system/node")


@dataclass(frozen=True, slots=True)
class Pool:
    """The machine's hugepages of the default size."""

    size_bytes: int
    total: int
    free: int
    """Free and not reserved."""


def pool() -> Pool:
    """Read /proc/meminfo."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, rest = line.partition(":")
        values[key] = int(rest.split()[0])
    return Pool(
        size_bytes=values.get("Hugepagesize", 0) * 1024,
        total=values.get("HugePages_Total", 0),
        free=values.get("HugePages_Free", 0) - values.get("HugePages_Rsvd", 0),
    )


def grant(need_bytes: int, *, privileges: Privileges, journal: Journal, lab: str) -> bool:
    """Make sure that `need_bytes` of hugepages are free. False: they are not, and can't be allocated without root.

    Raises EnvironmentBroken if the kernel does not grant them.
    """
    before = pool()
    if before.size_bytes == 0:
        return False
    need = -(-need_bytes // before.size_bytes)
    if before.free >= need:
        return True
    if not privileges.root:
        return False
    wanted = before.total + need - before.free
    try:
        entry = turn(HugepagesTunable(), str(wanted), journal=journal, lab=lab)
    except EnvironmentBroken as error:
        raise EnvironmentBroken(
            f"{need} hugepages of {before.size_bytes >> 10} KiB are needed, {before.free} were free: {error.message}",
            hint="free memory (echo 1 > /proc/sys/vm/compact_memory), set memory: lower or hugepages: no",
        ) from error
    if pool().free < need:
        undo(entry, journal=journal)
        raise EnvironmentBroken(
            f"{need} hugepages are needed, {pool().free} are free although {wanted} are set: other processes use them",
            hint="end the processes that use them, or set memory: lower or hugepages: no in the topology",
        )
    return True


def grant_on_node(node: int, need_bytes: int, *, privileges: Privileges, journal: Journal, lab: str) -> None:
    """Make sure that so much is free on a NUMA node. Does nothing on a kernel without NUMA, or where it is free.

    Raises EnvironmentBroken if the kernel does not grant it.
    """
    before = pool()
    folder = _NODES / f"node{node}/hugepages/hugepages-{before.size_bytes >> 10}kB"
    if not before.size_bytes or not folder.is_dir() or not privileges.root:
        return
    free, total = (int((folder / name).read_text()) for name in ("free_hugepages", "nr_hugepages"))
    need = -(-need_bytes // before.size_bytes)
    if free < need:
        wanted = str(total + need - free)
        turn(HugepagesTunable(folder / "nr_hugepages"), wanted, journal=journal, lab=lab)
