"""Hugepages as files: mounted for a group, so that programs use them without root."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

from . import files, mounts
from .hugepages import size
from .mounts import MountFailed
from .state import State

FSTYPE = "hugetlbfs"


def change(
    role: str, path: str, *, size_kib: int, mode: str, group: str, persist: bool = False, check: bool = False
) -> bool:
    """Mount it with that size of page, mode and group. Returns whether that changes anything.

    One that is ours and has others is mounted anew. Raises MountFailed; one of somebody else's is left alone then.
    """
    wanted = (size_kib, int(mode, 8), _gid(group, check=check))
    changed = False
    if (
        mounts.mounted(path, Path("/proc/self/mounts").read_text(errors="surrogateescape")) == FSTYPE
        and (found := _found(path)) != wanted
    ):
        _give_up(role, path, _told(found), _told(wanted), check=check)
        changed = True
        if check:
            return True
    if not Path(path).is_dir():
        if check:
            return True
        files.make_folder(role, path)
        changed = True
    options = f"pagesize={size_kib}K,mode={wanted[1]:04o},gid={wanted[2]}"
    changed |= mounts.change(
        role, path, fstype=FSTYPE, source=FSTYPE, options=options, persist=persist, check=check
    )
    if not check and (found := _found(path)) != wanted:
        raise MountFailed(f"{path}: mounted with {_told(wanted)}, and found {_told(found)}")
    return changed


def _gid(group: str, *, check: bool) -> int:
    if not group:
        return 0
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if check:  # role labkit_host may make it in the real run
            return -1
        raise MountFailed(
            f"group {group} is not there: role labkit_host makes that in labkit_host_group; others make yourself"
        ) from None


def _found(path: str) -> tuple[int, int, int]:
    """Page size [KiB], mode and group in effect: hugetlbfs reports its page size as its block size."""
    root = Path(path).stat()
    return os.statvfs(path).f_bsize >> 10, stat.S_IMODE(root.st_mode), root.st_gid


def _told(one: tuple[int, int, int]) -> str:
    return f"pages of {size(one[0])}, mode {one[1]:04o}, gid {one[2]}"


def _give_up(role: str, path: str, found: str, wanted: str, *, check: bool) -> None:
    """Unmount one of ours that is not as wanted any more."""
    state = State(role)
    ours = next((one for one in state.changes() if (one.kind, one.target) == (mounts.KIND, path)), None)
    if ours is None:
        raise MountFailed(
            f"{path}: expected {wanted}, found {found}, mounted by somebody else: choose another path"
        )
    if check:
        return
    if (reason := mounts.restore(ours, Path("/"))) is not None:
        raise MountFailed(f"{path}: expected {wanted}, found {found}, and it can't be mounted anew: {reason}")
    state.forget(ours)


def release(role: str, keep: list[str], *, check: bool = False) -> bool:
    """Unmount what is no longer asked for, and remove the folders that were made for it."""
    state = State(role)
    stale = [
        one
        for one in reversed(state.changes())
        if (one.kind == mounts.KIND and one.target not in keep)
        or (one.kind == files.FOLDER and not any(f"{path}/".startswith(f"{one.target}/") for path in keep))
    ]
    for one in stale if not check else []:
        restore = mounts.restore if one.kind == mounts.KIND else files.restore_folder
        if (reason := restore(one, Path("/"))) is not None:
            raise MountFailed(f"{one.target}: {reason}")
        state.forget(one)
    return bool(stale)
