"""Where commands run: here, or in a network namespace; hosts over SSH would be one more class.

A host says how to start a program there; who starts it, and what it does, is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class Host(Protocol):
    """A place where a program can be started."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def argv(self, command: Sequence[str]) -> list[str]:
        """The full argv that runs `command` there as a direct child that dies with its parent.

        Name the program by an absolute path or by one that PATH finds: the working directory there is /.
        """
        ...

    def path(self, absolute: str) -> Path:
        """The file `absolute` (such as /sys/class/net/dut0/mtu) as that host sees it."""
        ...


@dataclass(frozen=True, slots=True)
class LocalHost:
    """Here: the namespaces that labkit itself is in."""

    name: str = "local"

    def argv(self, command: Sequence[str]) -> list[str]:
        """See Host."""
        return [*DIE_WITH_PARENT, *command]

    def path(self, absolute: str) -> Path:
        """See Host."""
        return Path(absolute)


@dataclass(frozen=True, slots=True)
class NamespaceHost:
    """The network and mount namespace that the process `pid` holds.

    Its /sys shows the interfaces of that namespace; its /run is its own, and gone when the holder is.
    /proc/sys/net, on the contrary, shows whoever reads it: see `machine.namespaces.inside`.
    """

    name: str
    pid: int

    def argv(self, command: Sequence[str]) -> list[str]:
        """See Host."""
        return [*self.enter(), *DIE_WITH_PARENT, *command]

    def enter(self) -> list[str]:
        """The start of an argv that runs the rest in there."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt", "--"]

    def path(self, absolute: str) -> Path:
        """See Host."""
        return Path(f"/proc/{self.pid}/root") / absolute.lstrip("/")
