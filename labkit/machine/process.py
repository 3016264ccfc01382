"""The identity of a process: pid and start time, so that a reused pid is never taken for the old process."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Of the running kernel: the same for two names of one machine, and for containers there."""
    return _BOOT.read_text().strip()


def network_namespace() -> int:
    """That of this process, by inode."""
    return Path("/proc/self/ns/net").stat().st_ino


def interrupt_with_parent() -> None:
    """Have this process interrupted, as by Ctrl-C, when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifies one process."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks after boot."""

    @property
    def alive(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        return _stat(self.pid) == self.start_ticks

    def kill(self, *, deadline_s: float = 5.0) -> bool:
        """SIGKILL that very process and wait until it is gone; False: it was gone already."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        end = time.monotonic() + deadline_s
        while self.alive and time.monotonic() < end:
            time.sleep(0.001)
        return True


def identify(pid: int) -> Identity:
    """The process that has this pid now. Raises ProcessLookupError."""
    start = _stat(pid)
    if start is None:
        raise ProcessLookupError(f"no process {pid}")
    return Identity(pid, start)


def parent(pid: int) -> int:
    """The process that started it; 0: there is none, or it can't be seen."""
    fields = _fields(pid)
    return 0 if fields is None else int(fields[1])


def _stat(pid: int) -> int | None:
    fields = _fields(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _fields(pid: int) -> list[str] | None:
    """Of /proc/PID/stat, from the third on (the state)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
