"""All that role hugepages asks for: judged, granted, given back when asked for no longer, counted after a boot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import hugepages, hugepages_look, hugepools
from .hugepages import BOOT, DEFAULT_SIZE_KIB, RUNTIME, Pool


def have(
    role: str,
    wanted: Mapping[str, Any],
    *,
    count: int,
    count_file: str,
    persist: bool = False,
    root: Path = Path("/"),
    check: bool = False,
) -> tuple[bool, list[str]]:
    """Have the pages. Returns whether that changes anything, and the pools that wait for a boot.

    `wanted` has the role's variables; `count` is what hugepages_count comes to, in the file `count_file`. Raises
    ValueError, before anything is changed, and ShortGrant.
    """
    if problems := hugepages.problems(wanted, hugepages_look.look(root)):
        raise ValueError(f"{'; '.join(problems)}. Nothing was changed.")
    entries = wanted.get("hugepages_pools") or []
    pools = [Pool.of(entry) for entry in entries]
    boot = [pool for pool in pools if pool.scope == BOOT]
    runtime = {hugepools.count_file(pool): pool for pool in pools if pool.scope == RUNTIME}
    if count:
        runtime[count_file] = Pool(DEFAULT_SIZE_KIB, count)
    # No count: what an earlier one added is left alone, unless the same pages are now asked for otherwise.
    keep = {*runtime} | (set() if any(pool.size_kib == DEFAULT_SIZE_KIB for pool in pools) else {count_file})
    changed = hugepools.release(
        role, keep, {hugepools.count_file(pool) for pool in boot}, root=root, check=check
    )
    for path, pool in sorted(
        runtime.items(), key=lambda item: -item[1].size_kib
    ):  # the largest find room first
        changed |= hugepools.grant(role, pool, path=path, persist=persist, root=root, check=check)
    arguments = hugepages.arguments(entries, int(wanted.get("hugepages_default_size_kib") or 0))
    if not hugepools.booted_with(arguments, root=root):
        return changed, [str(pool) for pool in boot]
    if short := [why for pool in boot if (why := hugepools.missing_at_boot(pool, root=root))]:
        raise hugepools.ShortGrant("\n".join(short))
    return changed, []
