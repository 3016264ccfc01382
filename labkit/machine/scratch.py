"""Temporary folders that end with their process: the next one, or `labkit down`, removes what a kill left.

Some hold the connection to a host. A lock on the folder shows that its process lives: it ends with the process.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PURPOSES = ("desired", "ssh", "workers")


@contextmanager
def folder(purpose: str) -> Iterator[Path]:
    """A folder of ours alone, for one of the purposes known here."""
    assert purpose in _PURPOSES
    clear_abandoned()
    new = Path(tempfile.mkdtemp(prefix=".labkit-"))
    descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        made = new.rename(
            new.with_name(f"labkit-{purpose}.{secrets.token_hex(4)}")
        )  # locked before it has its name
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
    finally:
        os.close(descriptor)


def clear_abandoned() -> list[Path]:
    """Remove the folders of this user's processes that were killed; returns them."""
    gone = []
    for purpose in _PURPOSES:
        for path in sorted(Path(tempfile.gettempdir()).glob(f"labkit-{purpose}.*")):
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if os.fstat(descriptor).st_uid != os.geteuid():
                        continue
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                    gone.append(path)
                finally:
                    os.close(descriptor)
    return gone
