"""The SSH connection that this process was started over, on the machine that it leads to."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from labkit.machine.process import Identity, identify

SERVERS = ("sshd", "dropbear")
"""Names of SSH servers' processes begin so (OpenSSH: sshd, since 9.8 sshd-session)."""
END_S = 3.0
"""After this time a server that was asked to end is killed."""
PROGRAMS_S = 1.0
"""Programs end within this time when their input does."""


def close() -> bool:
    """End the connection, and with it the input of every program that was started over it. False: there is none.

    It is for a connection that has no other end any more: the server does not notice that by itself for hours.
    """
    server = _server()
    if server is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while server.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    server.kill()
    time.sleep(PROGRAMS_S)
    return True


def _server() -> Identity | None:
    """The nearest process above this one that is an SSH server's."""
    pid = os.getppid()
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        if stat.partition("(")[2].startswith(SERVERS):
            with suppress(ProcessLookupError):
                return identify(pid)
            return None
        pid = int(stat.rpartition(")")[2].split()[1])
    return None
