"""Files that no kill, full disk or power failure leaves half written.

A file is put in place whole: a draft beside it takes its name once it is complete. A lock on the draft shows that its
process lives: it ends with the process. Drafts that a kill left are removed by who writes the file next, and by
`clear_abandoned`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system without locks answers: drafts that a kill leaves there are never removed."""

_DRAFT = re.compile(r"\.(.+)\.[0-9a-f]{6}\.tmp")


def temporary(target: Path) -> Path:
    """A name that nobody has, beside `target`, which `clear_abandoned` knows: ".results.json.1f0a3c.tmp"."""
    return target.with_name(f".{target.name}.{secrets.token_hex(3)}.tmp")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """An empty draft of `target`, to be filled: it becomes `target` when the context ends well, else it is removed.

    Raises OSError where that can't be.
    """
    clear_abandoned(target.parent, target.name)
    draft, descriptor = _locked_draft(target)
    try:
        yield draft
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    finally:
        os.close(descriptor)


def _locked_draft(target: Path) -> tuple[Path, int]:
    """A new draft with its lock; another name where it was removed as abandoned before the lock was taken."""
    while True:
        draft = temporary(target)
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as e:
            if e.errno in _NO_LOCKS:
                return draft, descriptor
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        if os.fstat(descriptor).st_nlink:
            return draft, descriptor
        os.close(descriptor)


def clear_abandoned(folder: Path, name: str | None = None) -> list[Path]:
    """Remove the drafts of `name` (None: of any file) in `folder` whose processes were killed; these are they."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    drafts = [n for n in names if (match := _DRAFT.fullmatch(n)) and name in (None, match[1])]
    return [path for path in map(folder.joinpath, drafts) if _removed_as_abandoned(path)]


def _removed_as_abandoned(path: Path) -> bool:
    """Whether no process holds its lock; it is removed then. What is not ours, or can't be opened, is left."""
    try:
        # O_NONBLOCK: a named pipe is no draft, and must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(descriptor).st_nlink or not os.path.samestat(os.fstat(descriptor), path.lstat()):
            return False  # it was put in place meanwhile
        path.unlink()
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(descriptor: int) -> Iterator[bool]:
    """Hold a lock on an open file, which ends with this process; False: the file system has none. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as e:
        if e.errno not in _NO_LOCKS:
            raise
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it: os.write may take a part only."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_synced(path: Path, data: bytes) -> None:
    """Write a file; it is on disk when this returns."""
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the names in it on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
