"""Locks of package managers: who holds them, and waiting for that to end."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .package_manager import PackagesRefused, command_of

RPM = ("/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock")
"""rpm's own, of its transactions."""
DNF = (
    "/var/lib/dnf/rpmdb_lock.pid",
    "/var/cache/dnf/metadata_lock.pid",
    "/var/cache/dnf/download_lock.pid",
)
"""In which a dnf writes its process, and which the next one takes for nothing where that has ended (dnf/lock.py)."""
_FLOCK = "hhqqi0q"
"""struct flock: type, whence, start, length, pid."""


def holder(lock: str) -> int | None:
    """Process that holds the lock; 0: one that is not seen from here; None: nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid


def writer(file: str) -> int | None:
    """Process that wrote its number into the file and still runs; None: there is none."""
    try:
        pid = int(Path(file).read_text())
    except (OSError, ValueError):
        return None
    return pid if Path("/proc", str(pid)).exists() else None


def held(by: Callable[[str], int | None], files: Iterable[str]) -> list[tuple[str, int]]:
    """Those of the files that somebody holds, and who."""
    return [(file, pid) for file in files if (pid := by(file)) is not None]


def wait(program: str, look: Callable[[], list[tuple[str, int]]], timeout_s: float) -> None:
    """Wait until nobody holds a lock. Raises PackagesRefused, which names who does."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if not found:
            return
        if time.monotonic() >= deadline:
            lock, pid = found[0]
            who = f"process {pid} ({command_of(pid)})" if pid > 0 else "a process outside this container"
            raise PackagesRefused(
                f"{program} is in use: {who} holds {lock}, waited {timeout_s:g} s. No package was changed. Let it "
                "finish, then run this again."
            )
        time.sleep(0.5)


def wait_for_rpm(timeout_s: float) -> None:
    """Wait until no other dnf or rpm is at work: an rpm by itself knows nothing of dnf's locks."""
    wait("dnf or rpm", lambda: held(holder, RPM) + held(writer, DNF), timeout_s)
