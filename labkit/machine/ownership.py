"""File ownership: what labkit writes under sudo belongs to the user who called sudo.

Only files that this process made are handed over, never what a symbolic link points to. Runs wherever the probe is
built: Python 3.9, and nothing installed.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Caller:
    """Who called sudo."""

    uid: int
    gid: int
    home: Path


def caller() -> Caller | None:
    """Who called sudo, where this process is root by it; None for everybody else, and for root that called it."""
    if os.geteuid() != 0:
        return None
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
        home = pwd.getpwuid(uid).pw_dir
    except (KeyError, ValueError):
        return None
    return Caller(uid, gid, Path(home)) if uid > 0 else None


def make_folders(folder: Path) -> None:
    """Make a folder and those above it that are missing; each one made here is the caller's. Raises OSError."""
    missing = []
    place = folder
    while not place.exists() and place != place.parent:
        missing.append(place)
        place = place.parent
    for one in reversed(missing):
        try:
            one.mkdir()
        except FileExistsError:
            continue  # another process was faster, and hands it over
        hand_over(one)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def hand_over(path: Path) -> None:
    """Give the caller of sudo a file, or a folder with all that is in it, that this process has made.

    What belongs to another user than root stays as it is, and so does a file with a second name. A file system that
    knows no owners, or refuses, is no error: the file is there, and root's.
    """
    who = caller()
    if who is None:
        return
    if not path.is_symlink() and path.is_dir():
        for _, _, files, folder in os.fwalk(path, follow_symlinks=False):
            for name in files:
                _give(name, who, folder)
            with suppress(OSError):
                if os.fstat(folder).st_uid == 0:
                    os.fchown(folder, who.uid, who.gid)
        return
    _give(str(path), who, None)


def _give(name: str, who: Caller, folder: int | None) -> None:
    """Through a descriptor, so that it is the same file even if its name is replaced meanwhile."""
    with suppress(OSError):
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
                os.chown(f"/proc/self/fd/{descriptor}", who.uid, who.gid)
        finally:
            os.close(descriptor)
