"""One measurement at a time on a machine: two at once falsify each other's figures unnoticed.

The lock is a name in Linux's abstract socket namespace: it goes with the process that holds it, however that ends,
leaves no file, and needs no folder that every user may write to. A process that connects to it learns from the kernel
which process listens (SO_PEERCRED), and when it ends. The name belongs to a network namespace: a container with
one of its own has a lock of its own.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.machine.process import identify
from labkit.machine.usage import TICKS_PER_S

NAME = "\0labkit/measuring"
_CREDENTIALS = struct.Struct("3i")
REPORT_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Taken:
    """Who measures."""

    pid: int
    """0: it is in a process namespace that this one can't see."""
    user: str
    command: str
    since: str = ""
    """When it was started, in this machine's time; empty: that is unknown."""

    def __str__(self) -> str:
        who = f"pid {self.pid}" if self.pid else "a process of another container"
        since = f", started {self.since}" if self.since else ""
        return f"{who}, user {self.user}{since}" + (f": {self.command}" if self.command else "")


class Busy(EnvironmentBroken):
    """Another process measures on this machine."""


@contextmanager
def measuring(
    *,
    wait_s: float | None = 0.0,
    report: Callable[[str], None] = lambda _: None,
    holds_for_us: int | None = None,
) -> Iterator[None]:
    """Hold the machine for the time of the context.

    Where another process holds it, wait `wait_s` seconds (None: as long as it takes), and `report` it now and then.
    `holds_for_us`: pid of a process that may hold it for this one. Raises Busy, naming the holder, where another
    holds it still.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as lock:
        deadline = None if wait_s is None else time.monotonic() + wait_s
        while not _taken(lock):
            if not _wait(deadline, report, (os.getpid(), holds_for_us)):
                break
        yield


def _taken(lock: socket.socket) -> bool:
    """Take the name; whether it was free."""
    try:
        lock.bind(NAME)
    except OSError:  # EADDRINUSE: the only thing that can be wrong with an abstract name
        return False
    lock.listen(128)
    return True


def holder() -> Taken | None:
    """Who measures now; None: nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.connect(NAME)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        return _peer(asking)


def _peer(connection: socket.socket) -> Taken:
    pid, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return Taken(pid, user_name(uid), _command(pid), _started(pid))


def user_name(uid: int) -> str:
    """The name of a user; the number, if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _command(pid: int) -> str:
    """Its command line, without the folders of interpreter and program."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return ""
    named = [os.path.basename(word) for word in words[:2]] + words[2:]  # noqa: PTH119 - a word, no path of ours
    if len(named) > 1 and named[0].startswith("python"):
        named = named[1:]
    return " ".join(" ".join(named).split())[:120]


def _started(pid: int) -> str:
    """When a process was started; empty where it cannot be seen."""
    try:
        after_boot_s = identify(pid).start_ticks / TICKS_PER_S
        up_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return ""
    began = time.time() - up_s + after_boot_s
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began))


def _wait(deadline: float | None, report: Callable[[str], None], ours: Collection[int | None]) -> bool:
    """Wait until the holder has ended; False: it is one of `ours`, by pid. Raises Busy at the deadline."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.connect(NAME)
        except ConnectionRefusedError:
            time.sleep(0.01)  # it has just gone, or does not listen yet
            return True
        taken, began = _peer(asking), time.monotonic()
        if taken.pid in ours:
            return False
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise Busy(f"another measurement runs on this machine ({taken})", hint=_HINT)
            report(f"waiting for another measurement to end, {time.monotonic() - began:.0f} s ({taken})")
            asking.settimeout(REPORT_EVERY_S if left is None else min(left, REPORT_EVERY_S))
            try:
                asking.recv(1)  # nothing is ever sent: it returns when the holder has ended
                return True
            except TimeoutError:
                continue
            except ConnectionError:
                return True


_HINT = (
    "two at once falsify each other's figures: wait for it (LABKIT_WAIT=10min, labkit --wait, pytest --labkit-wait), "
    "or end it"
)
