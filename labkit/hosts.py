"""Where commands run: here, or in a network namespace. (SSH hosts come with their own issue.)"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Host(Protocol):
    """A place where a program can be started."""

    name: str

    def argv(self, command: Sequence[str]) -> list[str]:
        """The full argv that runs `command` there as a direct child that dies with its parent."""
        ...

    def path(self, absolute: str) -> Path:
        """The file `absolute` (such as /sys/class/net/dut0/mtu) as that host sees it."""
        ...
