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


def caches() -> tuple[Path, ...]:
    """The folders for what labkit makes once and uses again, the first one that can be written to.

    XDG_CACHE_HOME, else the user's cache. Under sudo first that of who called it: what that user has made is good for
    root too (see `trusted`), and what root makes there is that user's.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return (Path(chosen) / "labkit",)
    who = caller()
    homes = [*([who.home] if who and who.home.is_dir() else []), Path.home()]
    return tuple(home / ".cache" / "labkit" for home in homes)


def trusted(path: Path) -> bool:
    """Whether root may run it: it is root's own, or that of who called sudo, in that user's cache.

    The user who may write to it also owns the labkit, the topologies and the tests that sudo runs as root, so this
    gives no right that sudo has not given. A file that another user owns, or that everybody may write to, is refused.
    """
    who = caller()
    if who is None:
        return True
    found = path.stat()
    return found.st_uid in (0, who.uid) and not found.st_mode & 0o002


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
