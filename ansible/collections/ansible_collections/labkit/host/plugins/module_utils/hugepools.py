"""Hugepages of this host: what the kernel grants, and what it granted at boot."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from . import hugepages
from .hugepages import Pool
from .settings import Setting, SettingRefused
from .state import Change, State

KIND = "hugepages"


class ShortGrant(Exception):
    """The kernel has fewer pages than were asked for."""


def figure(name: str, text: str) -> int:
    """That of a line of a meminfo; 0 where there is none."""
    found = re.search(rf"\b{name}:\s+(\d+)", text)
    return int(found.group(1)) if found else 0


def count_file(pool: Pool) -> str:
    """The file that sets how many pages a pool has."""
    return f"{pool.folder}/nr_hugepages"


def grant(
    role: str,
    pool: Pool,
    *,
    path: str = "",
    persist: bool = False,
    root: Path = Path("/"),
    check: bool = False,
) -> bool:
    """Have at least so many pages. Returns whether that changes anything.

    Only pages that we added are ever taken away again, when fewer are asked for than before. Raises ShortGrant; the
    old count is there again then.
    """
    path = path or count_file(pool)
    setting = Setting(path, "int", root)
    before = int(setting.read())
    state = State(role, root)
    known = state.noted(KIND, path)
    target = max(pool.count, int(known.old["value"]) if known else before)
    ours = known is not None and known.ours(str(before))
    write = before < target or (ours and before > target)
    noted = known is not None and (int(known.new), known.persist) == (target, persist)
    if not write and (noted or not (known or persist)):
        return False
    if not check:
        earlier = str(before) if ours else None
        state.note(KIND, path, {"value": str(before)}, str(target), persist=persist, earlier=earlier)
        if write:
            try:
                _set(setting, target, pool, root)
            except ShortGrant:
                # As it was before this run, the note too.
                if known is None:
                    state.forget(Change(KIND, path, None))
                else:
                    state.note(KIND, path, None, known.new, persist=known.persist, earlier=known.earlier)
                raise
    return True


def _set(setting: Setting, count: int, pool: Pool, root: Path) -> None:
    try:
        setting.write(str(count))
    except SettingRefused as error:
        raise ShortGrant(
            f"Asked for {count} hugepages of {hugepages.size(pool.size_kib)}: {error}.\n"
            f"{room(pool, root)}\n"
            "Ask for fewer, free memory, or reserve them at boot (scope: boot), while memory is not fragmented."
        ) from error


def room(pool: Pool, root: Path) -> str:
    """How much memory there is for a pool, and how it is cut up."""
    node = pool.node
    meminfo = root / ("proc/meminfo" if node is None else f"sys/devices/system/node/node{node}/meminfo")
    text = meminfo.read_text()
    where = "" if node is None else f" on node {node}"
    blocks = [
        line
        for line in (root / "proc/buddyinfo").read_text().splitlines()
        if node is None or line.startswith(f"Node {node},")
    ]
    return (
        f"Pages of that size{where}: {_count(pool, 'nr_hugepages', root)}, of which "
        f"{_count(pool, 'free_hugepages', root)} are free.\n"
        f"Free memory: {figure('MemFree', text) >> 10} MiB of {figure('MemTotal', text) >> 10} MiB{where}.\n"
        "Free blocks by size, from 4 KiB doubling (a page of 2 MB takes one of the tenth column or later):\n"
        + "\n".join(blocks)
    )


def _count(pool: Pool, name: str, root: Path) -> str:
    try:
        return (root / f"{pool.folder}/{name}".lstrip("/")).read_text().strip()
    except FileNotFoundError:
        return "unknown"


def release(
    role: str, keep: Collection[str], boot: Collection[str], *, root: Path = Path("/"), check: bool = False
) -> bool:
    """Give back what is no longer asked for at run time. What is made at boot by now is only forgotten."""
    state = State(role, root)
    stale = [one for one in state.changes() if one.kind == KIND and one.target not in keep]
    for one in stale if not check else []:
        if one.target not in boot and (reason := restore(one, root)) is not None:
            raise ShortGrant(reason)
        state.forget(one)
    return bool(stale)


def missing_at_boot(pool: Pool, *, root: Path = Path("/")) -> str | None:
    """Why a pool that the kernel was booted with is not there; None: it is."""
    try:
        granted = int(_count(pool, "nr_hugepages", root))
    except ValueError:
        return f"{pool.folder} is not there: this kernel has no hugepages of {hugepages.size(pool.size_kib)}"
    if granted >= pool.count:
        return None
    return (
        f"The kernel was booted with {pool}, and granted {granted}.\n{room(pool, root)}\n"
        "Ask for fewer, or for smaller ones."
    )


def booted_with(arguments: Sequence[str], *, root: Path = Path("/")) -> bool:
    """Whether the running kernel got these arguments, in one piece: what each counts for depends on the one before."""
    words = (root / "proc/cmdline").read_text(errors="replace").split()
    size = len(arguments)
    return any(words[at : at + size] == list(arguments) for at in range(len(words) - size + 1))


def again(change: Change, root: Path) -> None:
    """Have them once more, after a boot. Raises SettingRefused."""
    setting = Setting(change.target, "int", root)
    if int(setting.read()) < int(change.new):
        setting.write(change.new)


def restore(change: Change, root: Path) -> str | None:
    """Restore the old count; None when done, else why not."""
    setting = Setting(change.target, "int", root)
    old = change.old["value"]
    if not setting.exists():
        return f"{change.target} is no longer there (it was {old})"
    if setting.same(setting.read(), old):
        return None
    try:
        setting.write(old)
    except SettingRefused as error:
        return f"{error}. Pages in use stay: end what uses them (grep -l huge /proc/*/maps) and revert again"
    return None
