"""What a tool leaves on the machine when it is killed: journalled while it runs, so that `labkit down` undoes it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from labkit.errors import EnvironmentBroken
from labkit.machine.journal import Entry, Journal
from labkit.machine.privilege import state_directory
from labkit.machine.tunables import Tunable, undo


class Leftovers:
    """The changes that one run of a tool makes; what the tool has not reverted at its end is reverted."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._entries: list[Entry] = []

    def expect(self, tunable: Tunable, *, new: str = "there") -> None:
        """The tool is about to set this to `new`. Raises OSError where it can't be read."""
        self._entries.append(
            Journal(state_directory()).begin(
                lab=self._tool, tunable=tunable.describe(), old=tunable.read(), new=new
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        journal = Journal(state_directory()) if self._entries else None
        left = []
        for entry in reversed(self._entries):
            assert journal is not None
            if (why := undo(entry, journal=journal)) is not None:
                left.append(why)
        if left and error is None:
            raise EnvironmentBroken("; ".join(left))
