"""Room for results: whether a folder can take them, and space held back for the last of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.machine import durable

RESERVED_BYTES = 4 << 20
"""More than the largest record (a search of some hundred trials with three histograms each)."""


def check_root(root: Path, *, room_bytes: int = 0) -> None:
    """Raise EnvironmentBroken where no run folder can be made below `root`, or no file of `room_bytes` in it."""
    try:
        place = next(p for p in (root, *root.absolute().parents) if p.exists())
    except OSError as error:  # a folder that is closed, a name that is too long
        raise unwritable(root, str(error.strerror)) from error
    if not place.is_dir():
        raise unwritable(root, f"{place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise unwritable(root, f"{place} may not be written to")
    disk = os.statvfs(place)
    free_bytes = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free_bytes < room_bytes:  # no blocks at all: a file system that doesn't count them
        raise EnvironmentBroken(
            f"results can't be written to {root}: {free_bytes // 1024:,} KiB are free there, "
            f"a run needs {room_bytes // 1024:,}",
            hint=f"make room (df -h {place}), or choose another folder (--results DIR)",
        )


def unwritable(root: Path, why: str) -> EnvironmentBroken:
    """The error of a folder that takes no results."""
    return EnvironmentBroken(
        f"results can't be written to {root}: {why}",
        hint=f"make {root} a folder that you may write to, or choose another (--results DIR)",
    )


def _no_room(root: Path, e: OSError) -> EnvironmentBroken:
    return EnvironmentBroken(
        f"there is no room for results in {root}: {e.strerror}",
        hint=f"make room (df -h {root}), or choose another folder (--results DIR)",
    )


class ReservedSpace:
    """Space taken on the disk of a folder now, so that a disk that fills up later can't cost the last record.

    It is a file without a name: a run that is killed leaves none. A file system that can't allocate space ahead
    gives none.
    """

    def __init__(self, folder: Path) -> None:
        """Take it. Raises EnvironmentBroken where the disk has not so much, OSError where it can't be written."""
        descriptor = _nameless(folder)
        try:
            os.posix_fallocate(descriptor, 0, RESERVED_BYTES)
        except OSError as e:
            os.close(descriptor)
            if e.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise _no_room(folder.parent, e) from e
            descriptor = -1
        self._descriptor = descriptor

    def release(self) -> bool:
        """Give it back; whether there was any."""
        if self._descriptor < 0:
            return False
        os.close(self._descriptor)
        self._descriptor = -1
        return True


def _nameless(folder: Path) -> int:
    """A file on the disk of `folder` that is gone when it is closed, whatever ends this process."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(folder, flags | os.O_TMPFILE, 0o600)
    except OSError as e:
        if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    path = durable.temporary(folder / "reserved")  # a file system that knows only files with names
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink(missing_ok=True)  # as clear_abandoned of another run may have done
    return descriptor
