"""One connection to another machine, by OpenSSH: all commands and programs there go over it.

OpenSSH's own configuration counts: aliases, keys, jump hosts. Nobody is asked for a password.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labkit.errors import EnvironmentBroken
from labkit.machine import fix, scratch
from labkit.machine.hosts import DIE_WITH_PARENT

CONNECT_TIMEOUT_S = 60
_DEFAULTS = ("BatchMode=yes", f"ConnectTimeout={CONNECT_TIMEOUT_S}")
_MASTER = ("ControlMaster=yes", "ControlPersist=no", "ServerAliveInterval=5", "ServerAliveCountMax=3")
# Without its master a client would open a connection of its own.
_CLIENT = ("ControlMaster=no", "ProxyCommand=false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """How a host is reached."""

    name: str
    """As a topology has it."""
    address: str
    """As ssh takes it: an address, a name or an alias, with or without a user."""
    options: tuple[str, ...] = ()
    """Of ssh: user, port, key, jump host."""
    labkit: tuple[str, ...] = ("labkit",)
    """The command that runs labkit there."""


@contextmanager
def connected(to: Destination) -> Iterator[tuple[str, ...]]:
    """Connect; yields the argv of ssh that goes over this connection, to which a shell command is added.

    It ends with the context, and with this process. Raises EnvironmentBroken with what ssh printed.
    """
    with scratch.folder("ssh") as folder:
        socket = folder / "ssh"
        path = f"ControlPath={socket}"
        master = [*DIE_WITH_PARENT, *_ssh(*_MASTER, path), *to.options, *_options(*_DEFAULTS), "-N"]
        master.append(to.address)
        try:
            process = subprocess.Popen(
                master,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                text=True,
                errors="replace",
            )
        except FileNotFoundError as error:
            raise EnvironmentBroken(
                f"{error.filename} is not installed", hint=fix.packages("openssh-client", "util-linux")
            ) from None
        try:
            while not socket.exists():
                if process.poll() is not None:
                    said = _printed(process) or f"ssh ended with exit code {process.returncode}"
                    raise EnvironmentBroken(
                        f"{to.name} cannot be reached: {said}",
                        hint=f"check it by: {shlex.join(['ssh', *to.options, to.address, 'true'])}",
                    )
                time.sleep(0.005)
            yield (*_ssh(*_CLIENT, path), *to.options, *_options(*_DEFAULTS), to.address)
        finally:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


def _printed(process: subprocess.Popen[str]) -> str:
    return process.stderr.read().strip() if process.stderr is not None else ""


def _ssh(*options: str) -> list[str]:
    """For each option the first value counts: these cannot be overridden by what follows."""
    return ["ssh", *_options(*options)]


def _options(*options: str) -> list[str]:
    return [word for option in options for word in ("-o", option)]
