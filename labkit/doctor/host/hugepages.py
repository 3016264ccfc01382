"""Host checks of the role hugepages: pages granted by the kernel, on their nodes, and who may use them."""

from __future__ import annotations

import re
import shlex

from labkit.doctor.host import members
from labkit.doctor.host.desired import Desired
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed, compare
from labkit.doctor.host.reader import HostFacts, HostReader
from labkit.errors import ConfigInvalid
from labkit.units import parse_whole

_POOLS = "/sys/kernel/mm/hugepages"
_NODES = "/sys/devices/system/node"
_RUN_TIME_KIB = 2048
"""Size that hugepages_count counts."""


def _facts(reader: HostReader) -> HostFacts:
    return reader.look(
        files=(
            f"{_POOLS}/*/nr_hugepages",
            f"{_POOLS}/*/free_hugepages",
            f"{_NODES}/node*/hugepages/*/nr_hugepages",
            "/proc/meminfo",
            "/proc/mounts",
        )
    )


def _wanted(desired: Desired, facts: HostFacts) -> dict[tuple[int, int | None], int]:
    """(size [KiB], node or None for the whole host) to the count that is asked for."""
    wanted: dict[tuple[int, int | None], int] = {}
    for pool in desired["hugepages_pools"]:
        node = pool.get("node")
        key = (int(pool["size_kib"]), None if node is None else int(node))
        wanted[key] = wanted.get(key, 0) + int(pool["count"])
    count = desired.text("hugepages_count")
    if count != "auto" or not wanted:
        wanted.setdefault(
            (_RUN_TIME_KIB, None), _auto(desired, facts) if count == "auto" else _number(desired, count)
        )
    return {key: count for key, count in wanted.items() if count}


def _number(desired: Desired, count: str) -> int:
    pages = parse_whole(count)
    if pages is None:
        raise ConfigInvalid(f"{desired.host}: hugepages_count: {count!r}, expected auto or a number")
    return pages


def _auto(desired: Desired, facts: HostFacts) -> int:
    """An eighth of the memory, and at most 1 GiB, in pages of 2 MB.

    0 where that is too little for a vhost pair, or where the kernel has no such pages: only a given number fails there.
    """
    if not facts.matching(f"{_POOLS}/hugepages-{_RUN_TIME_KIB}kB/*"):
        return 0
    memory = re.search(r"^MemTotal:\s+(\d+)", facts.text("/proc/meminfo") or "", re.MULTILINE)
    count = min(512, int(memory[1]) // 1024 // 16) if memory else 0
    return count if count >= int(desired["hugepages_minimum"]) else 0


def _granted(reader: HostReader, desired: Desired) -> Outcome:
    facts = _facts(reader)
    wanted = _wanted(desired, facts)
    if not wanted:
        there = facts.matching(f"{_POOLS}/hugepages-{_RUN_TIME_KIB}kB/*")
        return NotApplicable(
            "no hugepages are configured" + ("" if there else ", and this kernel has none of 2 MB")
        )
    short, granted = [], []
    for (size_kib, node), count in wanted.items():
        folder = _POOLS if node is None else f"{_NODES}/node{node}/hugepages"
        found = facts.read(f"{folder}/hugepages-{size_kib}kB/nr_hugepages", int)
        where = f"pages of {size_kib} KiB" + (f" on node {node}" if node is not None else "")
        free = facts.text(f"{_POOLS}/hugepages-{size_kib}kB/free_hugepages")
        granted.append(f"{found} {where}" + (f", {free} free" if node is None else ""))
        if found is None or found < count:
            short.append((f"{where}:", str(count), "no such size or node" if found is None else str(found)))
    return compare(short, "; ".join(granted))


def _default_size(reader: HostReader, desired: Desired) -> Outcome:
    wanted = int(desired["hugepages_default_size_kib"])
    if not wanted:
        return NotApplicable("hugepages_default_size_kib is 0: the kernel's default")
    found = re.search(r"^Hugepagesize:\s+(\d+)", _facts(reader).text("/proc/meminfo") or "", re.MULTILINE)
    return compare([("size [KiB]", str(wanted), found[1] if found else "none")], f"{wanted} KiB")


def _mounts(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired["hugepages_mounts"]
    if not wanted:
        return NotApplicable("hugepages_mounts is empty")
    lines = [line.split() for line in (_facts(reader).text("/proc/mounts") or "").splitlines()]
    there = {words[1]: words for words in lines if len(words) > 3}
    stats = reader.look(
        commands={mount["path"]: f"stat -c '%a %G' {shlex.quote(mount['path'])}" for mount in wanted}
    ).commands
    differences = []
    for mount in wanted:
        path, words = mount["path"], there.get(mount["path"])
        if words is None or words[2] != "hugetlbfs":
            differences.append((path, "hugetlbfs", words[2] if words else "not mounted"))
            continue
        if size := re.search(r"pagesize=(\d+)([KMG])", words[3]):
            kib = int(size[1]) << {"K": 0, "M": 10, "G": 20}[size[2]]
            differences.append((f"{path} page size [KiB]", str(mount["size_kib"]), str(kib)))
        mode, group = ([*stats[path].out.split(), "?", "?"])[:2]
        wanted_group = mount.get("group") or desired.text("hugepages_group")
        wanted_mode = str(mount.get("mode") or ("1770" if wanted_group else "0700"))
        if not re.fullmatch("[0-7]{3,4}", wanted_mode):
            raise ConfigInvalid(
                f"{desired.host}: hugepages_mounts: {path}: mode {wanted_mode!r}, expected octal digits"
            )
        differences.append((f"{path} mode", f"{int(wanted_mode, 8):o}", mode))
        differences.append((f"{path} group", wanted_group or "root", group))
    return compare(differences, ", ".join(mount["path"] for mount in wanted))


def _access(reader: HostReader, desired: Desired) -> Outcome:
    groups = {
        mount["path"]: mount.get("group") or desired.text("hugepages_group")
        for mount in desired["hugepages_mounts"]
    }
    tried = {path: group for path, group in groups.items() if group}
    if not tried:
        return NotApplicable("no mount is for a group")
    # The kernel's own answer (faccessat) to a process that is in the group alone: no file is made.
    commands = {
        path: members.attempt(
            f"test -w {shlex.quote(path)} && test -x {shlex.quote(path)}", user="", group=group
        )
        for path, group in tried.items()
    }
    results = reader.look(commands=commands).commands
    refused = {path: results[path].out or "no access" for path in tried if results[path].code}
    if refused:
        return Failed(
            "; ".join(f"group {tried[path]} may create files in {path}" for path in refused),
            "; ".join(f"{path}: {why}" for path, why in refused.items()),
        )
    return Passed(", ".join(f"group {group} in {path}" for path, group in tried.items()))


HOST_CHECKS = (
    HostCheck(
        id="hugepages.granted",
        text="the configured number of hugepages is allocated, per size and node",
        check=_granted,
    ),
    HostCheck(
        id="hugepages.default_size",
        text="the default hugepage size is the configured one",
        check=_default_size,
    ),
    HostCheck(
        id="hugepages.mounts",
        text="hugetlbfs is mounted with the configured size, mode and group",
        check=_mounts,
    ),
    HostCheck(
        id="hugepages.access", text="members of the group can use the mounts, without root", check=_access
    ),
)
