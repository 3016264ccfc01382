"""Progress of long work: one status line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TextIO

from labkit.output import is_terminal

ReportLine = Callable[[str], None]
"""Takes one line of progress of a short task."""


class Progress(Protocol):
    """Where a long task reports its progress."""

    def phase(self, text: str) -> None:
        """A new step has begun ("af_xdp-veth-64: throughput search")."""
        ...

    def update(self, text: str) -> None:
        """How far the step is ("NDR 512..530 kpps, 12 s left"). Cheap; called often."""
        ...

    def say(self, text: str) -> None:
        """Report a line that stays on the screen."""
        ...

    def done(self) -> None:
        """No step is running any more: clear the line."""
        ...


class Silent:
    """Reports nothing."""

    def phase(self, text: str) -> None:
        """Ignore."""

    def update(self, text: str) -> None:
        """Ignore."""

    def say(self, text: str) -> None:
        """Ignore."""

    def done(self) -> None:
        """Ignore."""


class StreamProgress:
    """Writes to a stream: on a terminal one line, overwritten; elsewhere a line per phase, and one every `every_s`."""

    def __init__(
        self,
        stream: TextIO,
        *,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        fresh_line: Callable[[], None] | None = None,
        where: Callable[[], str] | None = None,
    ) -> None:
        """`around` wraps each write (it suspends pytest's capture).

        `fresh_line` ends a line that others have begun on the stream; `where` returns how far the run is.
        """
        self._stream = stream
        with around():  # under pytest's capture a terminal looks like a file
            self._terminal = is_terminal(stream)
        self._fresh_line = fresh_line
        self._where = where
        self._every_s = every_s
        self._clock = clock
        self._around = around
        self._phase = ""
        self._last = float("-inf")
        self._dirty = False

    def _write(self, text: str) -> None:
        with self._around():
            if self._fresh_line is not None and not self._dirty:
                self._fresh_line()
            self._stream.write(text)
            self._stream.flush()

    def _line(self, text: str) -> None:
        """Show a line: on a terminal in place of the last one, cut to the width of the screen."""
        words = self._where() if self._where is not None else ""
        text = f"{words}: {text}" if words else text
        if self._terminal:
            self._write(f"\r\x1b[2K{text[: self._columns() - 1]}")
            self._dirty = True
        else:
            self._write(f"labkit: {text}\n")

    def _columns(self) -> int:
        try:
            with self._around():
                return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def phase(self, text: str) -> None:
        """Show a new phase at once."""
        self._phase = text
        self._last = self._clock()
        self._line(f"{text} ..." if self._terminal else text)

    def update(self, text: str) -> None:
        """Show how far the phase is, at most ten times a second (terminal) or every `every_s`."""
        now = self._clock()
        if now - self._last < (0.1 if self._terminal else self._every_s):
            return
        self._last = now
        self._line(f"{self._phase}: {text}")

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self.done()
        self._write(f"labkit: {text}\n")

    def done(self) -> None:
        """Clear the status line."""
        if self._dirty:
            self._write("\r\x1b[2K")
            self._dirty = False
