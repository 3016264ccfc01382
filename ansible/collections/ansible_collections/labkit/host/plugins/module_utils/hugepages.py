"""Pools of hugepages as they are asked for: what is wrong with them, and the kernel arguments they make. Pure.

A pool has one owner. Two that set the same pages (two entries, or an entry and vm.nr_hugepages in /etc/sysctl.d) would
take turns with every boot and every run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import digits

DEFAULT_SIZE_KIB = 2048
"""Of `hugepages_count`."""
MINIMUM = 128
"""Pages of that size that one vhost pair of the probe needs."""
LEFT_KIB = 256 * 1024
"""What the host keeps for all else: with less, a Debian without a desktop hardly boots."""
RUNTIME, BOOT = "runtime", "boot"
"""Scopes of a pool."""
NODES_AT_BOOT = (5, 16)
"""First kernel that takes hugepages=NODE:COUNT (b5389086ad7b); EL carries later changes under older numbers."""


@dataclass(frozen=True)
class Pool:
    """Pages of one size, on one NUMA node or spread over all."""

    size_kib: int
    count: int
    node: int | None = None
    """None: wherever the kernel finds room."""
    scope: str = RUNTIME
    """Or BOOT: by the kernel's command line, while memory is not fragmented."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Pool:
        """From an entry of `hugepages_pools`. Raises ValueError for one with `scope` and `when`."""
        if twice := doubled(entry):
            raise ValueError(twice)
        node = entry.get("node")
        return cls(
            int(entry["size_kib"]),
            int(entry["count"]),
            None if node is None else int(node),
            scope(entry),
        )

    @property
    def folder(self) -> str:
        """Where the kernel counts its pages."""
        above = "/sys/kernel/mm" if self.node is None else f"/sys/devices/system/node/node{self.node}"
        return f"{above}/hugepages/hugepages-{self.size_kib}kB"

    def __str__(self) -> str:
        where = "" if self.node is None else f" on node {self.node}"
        return (
            f"{self.count} {'hugepage' if self.count == 1 else 'hugepages'} of {size(self.size_kib)}{where}"
        )


@dataclass(frozen=True)
class Memory:
    """What a host has."""

    total_kib: int
    nodes_kib: Mapping[int, int]
    """Memory of each NUMA node; empty on a kernel without NUMA."""
    sizes_kib: Collection[int]
    """Sizes of hugepages that the kernel knows."""
    default_kib: int = DEFAULT_SIZE_KIB
    """Of these, the one that vm.nr_hugepages counts."""
    kernel: str = ""
    """Release, as uname -r prints it."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Files that set vm.nr_hugepages at boot, each with the value."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Files, not of ours, that put hugepages on the kernel's command line, each with the argument."""


def scope(entry: Mapping[str, Any]) -> str:
    """When the pages of an entry are reserved; `when` is the option's old name."""
    return str(entry.get("scope") or entry.get("when") or RUNTIME)


def doubled(entry: Mapping[str, Any]) -> str:
    """Why an entry has its scope twice; empty: it has not."""
    if entry.get("scope") is None or entry.get("when") is None:
        return ""
    return (
        f"scope is {entry['scope']!r} and when is {entry['when']!r}: when is the old name of scope. "
        f"Remove when, and write scope: {RUNTIME} or scope: {BOOT}"
    )


def size(kib: int) -> str:
    """As people say it."""
    for unit, name in ((1 << 20, "GB"), (1 << 10, "MB")):
        if kib % unit == 0:
            return f"{kib // unit} {name}"
    return f"{kib} KB"


def argument_size(kib: int) -> str:
    """As the kernel's command line has it."""
    return size(kib).replace(" ", "").rstrip("B")


def arguments(pools: Sequence[Mapping[str, Any]], default_size_kib: int = 0) -> list[str]:
    """Kernel arguments of the pools that are made at boot, in the kernel's order: a size, then how many of it."""
    boot = [pool for pool in map(Pool.of, pools) if pool.scope == BOOT]
    found = [f"default_hugepagesz={argument_size(default_size_kib)}"] if default_size_kib else []
    for size_kib in sorted({pool.size_kib for pool in boot}, reverse=True):  # the largest find room first
        same = [pool for pool in boot if pool.size_kib == size_kib]
        counts = sorted((pool.node, pool.count) for pool in same if pool.node is not None)
        count = ",".join(f"{node}:{count}" for node, count in counts) or str(sum(pool.count for pool in same))
        found += [f"hugepagesz={argument_size(size_kib)}", f"hugepages={count}"]
    return found


def problems(wanted: Mapping[str, Any], memory: Memory) -> list[str]:
    """All that is wrong with the variables of role hugepages on a host with this memory."""
    entries = wanted.get("hugepages_pools") or []
    pools = [Pool.of(entry) for entry in entries if not doubled(entry)]
    count = str(wanted.get("hugepages_count", "auto"))
    pages = digits.whole(count)
    found = (
        [f"hugepages_count: {count!r}, expected auto or a number"]
        if pages is None and count != "auto"
        else []
    )
    found += [f"hugepages_pools[{at}]: {why}" for at, entry in enumerate(entries) if (why := doubled(entry))]
    found += [*_each(pools, memory), *_owners(pools, pages or 0, memory), *_room(pools, pages or 0, memory)]
    if pages and DEFAULT_SIZE_KIB not in memory.sizes_kib:
        found.append(
            f"hugepages_count: {count} hugepages of 2 MB can't be reserved: {_unknown_size(DEFAULT_SIZE_KIB, memory)}. "
            "Take another kernel, hugepages_pools with a size that it has, or hugepages_count: auto"
        )
    minimum = int(wanted.get("hugepages_minimum", MINIMUM))
    if pages and pages < minimum:
        found.append(
            f"hugepages_count: {count} hugepages of 2 MB are fewer than the {minimum} that a vhost pair needs: ask for "
            f"{minimum} or more, or for 0 to leave the hugepages alone"
        )
    default_kib = int(wanted.get("hugepages_default_size_kib") or 0)
    if default_kib and default_kib not in memory.sizes_kib:
        found.append(f"hugepages_default_size_kib: {_unknown_size(default_kib, memory)}")
    return [*found, *_mounts(wanted, memory)]


def _unknown_size(kib: int, memory: Memory) -> str:
    if not memory.sizes_kib:
        return f"this kernel has no hugepages of {kib} KiB, and none of another size"
    known = ", ".join(f"{one} ({size(one)})" for one in sorted(memory.sizes_kib))
    more = "; 1 GB takes a processor with pdpe1gb in /proc/cpuinfo" if kib == 1 << 20 else ""
    return f"this kernel has no hugepages of {kib} KiB, only of {known}{more}"


def _each(pools: Sequence[Pool], memory: Memory) -> Iterator[str]:
    for pool in pools:
        if pool.count < 1:
            yield f"hugepages_pools: {pool}: expected 1 or more, or no such entry"
        if pool.scope not in (RUNTIME, BOOT):
            yield f"hugepages_pools: {pool}: scope is {pool.scope!r}, expected runtime or boot"
        if pool.size_kib not in memory.sizes_kib:
            yield f"hugepages_pools: {pool}: {_unknown_size(pool.size_kib, memory)}"
        if pool.node is None:
            continue
        if pool.node not in memory.nodes_kib:
            nodes = ", ".join(map(str, sorted(memory.nodes_kib)))
            yield f"hugepages_pools: {pool}: there is no such node, only {nodes or 'none (a kernel without NUMA)'}"
        if pool.scope == BOOT and _too_old(memory.kernel):
            yield (
                f"hugepages_pools: {pool} at boot: kernels before 5.16 take no node on their command line, and this is "
                f"{memory.kernel}. Leave the node out, or write scope: runtime"
            )


def _too_old(kernel: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return bool(found) and ".el" not in kernel and tuple(map(int, found.groups())) < NODES_AT_BOOT


def _owners(pools: Sequence[Pool], pages: int, memory: Memory) -> Iterator[str]:
    for at, pool in enumerate(pools):
        for other in pools[:at]:
            if pool.size_kib == other.size_kib and (
                None in (pool.node, other.node) or pool.node == other.node
            ):
                yield (
                    f"hugepages_pools: {other} ({other.scope}) and {pool} ({pool.scope}) set the same pages: "
                    "make them one entry, or give each a node of its own"
                )
    if pages and any(pool.size_kib == DEFAULT_SIZE_KIB for pool in pools):
        yield (
            f"hugepages_count: {pages} and an entry of hugepages_pools set the same pages of 2 MB: "
            "leave hugepages_count out"
        )
    if any(pool.size_kib == memory.default_kib for pool in pools):
        for file, value in memory.sysctls.items():
            yield (
                f"hugepages_pools: {file} sets vm.nr_hugepages = {value} at every boot, the same pages of "
                f"{size(memory.default_kib)}: take that line out, or the entry"
            )
    if any(pool.scope == BOOT for pool in pools):
        for file, argument in memory.arguments.items():
            yield (
                f"hugepages_pools: {file} has {argument} on the kernel's command line already, and the kernel takes "
                "the first: take it out there, or the entry here"
            )


def _room(pools: Sequence[Pool], pages: int, memory: Memory) -> Iterator[str]:
    total = DEFAULT_SIZE_KIB * pages + sum(pool.size_kib * pool.count for pool in pools)
    if total > max(0, memory.total_kib - LEFT_KIB):
        name = "hugepages_pools" if pools else "hugepages_count"
        yield (
            f"{name}: {total >> 10} MiB are asked for, more than there is: "
            f"the host has {memory.total_kib >> 10} MiB, of which {LEFT_KIB >> 10} stay for all else. Ask for fewer"
        )
    for node, kib in sorted(memory.nodes_kib.items()):
        here = sum(pool.size_kib * pool.count for pool in pools if pool.node == node)
        if here > kib:
            yield (
                f"hugepages_pools: {here >> 10} MiB are asked for on node {node}, which has {kib >> 10} MiB: "
                "ask for fewer"
            )


def mode_of(mount: Mapping[str, Any], group: str) -> str:
    """Octal mode of a mount: as given, else for its group if it has one, else for root alone."""
    return str(mount.get("mode") or ("1770" if mount.get("group") or group else "0700"))


def _mounts(wanted: Mapping[str, Any], memory: Memory) -> Iterator[str]:
    paths: set[str] = set()
    group = str(wanted.get("hugepages_group") or "")
    for mount in wanted.get("hugepages_mounts") or []:
        path, mode = str(mount["path"]), mode_of(mount, group)
        if not re.fullmatch(r"(/[^/\s]+)+", path) or ".." in path.split("/"):
            yield f"hugepages_mounts: {path!r}: expected an absolute path without blanks, such as /mnt/huge-2M"
        if path in paths:
            yield f"hugepages_mounts: {path} is there twice"
        paths.add(path)
        if int(mount["size_kib"]) not in memory.sizes_kib:
            yield f"hugepages_mounts: {path}: {_unknown_size(int(mount['size_kib']), memory)}"
        if not re.fullmatch(r"[01]?[0-7]{3}", mode):
            yield f"hugepages_mounts: {path}: mode {mode!r}, expected octal digits in quotes, such as '1770'"
        elif int(mode, 8) & 0o002:
            yield f"hugepages_mounts: {path}: mode {mode} lets everybody write, expected none that does, such as 1770"
    if group and not paths:
        yield "hugepages_group: there is no mount to give it: name one in hugepages_mounts"
