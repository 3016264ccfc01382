"""Where commands run: here, in a network namespace, or on another machine over SSH.

A host says how to start a program there; who starts it, and what it does, is the caller's.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SSH_FAILED = 255
"""Exit code of ssh, ssh(1): of an error of its own, and of a program there that a signal ended."""
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class Host(Protocol):
    """A place where a program can be started."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def argv(self, command: Sequence[str], *, cleans_up: bool = False) -> list[str]:
        """The full argv that runs `command` there as a direct child that dies with its parent.

        With `cleans_up` it does not: it ends itself when its standard input does, after it has cleaned up. Name the
        program by an absolute path or by one that PATH finds: the working directory there is /.
        """
        ...

    def ended(self, code: int) -> str:
        """How a program that was started by `argv` ended, by its exit code (negative: the signal)."""
        ...

    @property
    def executables(self) -> Mapping[str, str] | None:
        """Paths of the probe's executables there, by engine; None: those of this machine."""
        ...


@dataclass(frozen=True, slots=True)
class LocalHost:
    """Here: the namespaces that labkit itself is in."""

    name: str = "local"
    executables: Mapping[str, str] | None = None

    def argv(self, command: Sequence[str], *, cleans_up: bool = False) -> list[str]:
        """See Host."""
        return [*_until(cleans_up=cleans_up), *command]

    def ended(self, code: int) -> str:
        """See Host."""
        return ended(code)


@dataclass(frozen=True, slots=True)
class NamespaceHost:
    """The network and mount namespace that the process `pid` holds.

    Its /sys shows the interfaces of that namespace; its /run is its own, and gone when the holder is.
    /proc/sys/net, on the contrary, shows whoever reads it: see `machine.namespaces.inside`.
    """

    name: str
    pid: int
    executables: Mapping[str, str] | None = None

    def argv(self, command: Sequence[str], *, cleans_up: bool = False) -> list[str]:
        """See Host."""
        return [*self.enter(), *_until(cleans_up=cleans_up), *command]

    def ended(self, code: int) -> str:
        """See Host."""
        return ended(code)

    def enter(self) -> list[str]:
        """The start of an argv that runs the rest in there."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt", "--"]

    def path(self, absolute: str) -> Path:
        """The file `absolute` (such as /sys/class/net/dut0/mtu) as it is seen in there."""
        return Path(f"/proc/{self.pid}/root") / absolute.lstrip("/")


@dataclass(frozen=True, slots=True)
class SshHost:
    """Another machine, over a connection that is open (`machine.ssh`).

    What is started there ends when its standard input does: with the ssh process here, or with the connection.
    """

    name: str
    ssh: tuple[str, ...]
    """ssh, its options and the destination."""
    root: bool
    """Whether one logs in as root there; else sudo is put before each command."""
    executables: Mapping[str, str] | None = None

    def argv(self, command: Sequence[str], *, cleans_up: bool = False) -> list[str]:
        """See Host."""
        there = ["exec", *([] if self.root else ["sudo", "-n", "--"]), *_until(cleans_up=cleans_up), *command]
        return [*DIE_WITH_PARENT, *self.ssh, shlex.join(there)]

    def ended(self, code: int) -> str:
        """See Host."""
        if code == SSH_FAILED:
            return f"was killed on {self.name}, or the connection to {self.name} was lost,"
        return ended(code)


def _until(*, cleans_up: bool) -> Sequence[str]:
    return () if cleans_up else DIE_WITH_PARENT


def ended(code: int) -> str:
    """How a program ended, by its exit code (negative: the signal)."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
