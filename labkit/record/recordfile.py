"""records.jsonl, open for writing: each record is on disk whole, or not at all.

Several processes may write to one: a lock is held while a line is written, and ends with its process. Half a line that
a killed one left is cut off by who writes next.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from labkit.machine import durable
from labkit.machine.ownership import hand_over
from labkit.record.space import ReservedSpace

_BLOCK_BYTES = 1 << 16


class RecordFile:
    """Appends lines. Space is held back from the beginning, for the line at which the disk turns out to be full."""

    def __init__(self, path: Path) -> None:
        """Make the file, or open it if another process of the run has made it. Raises OSError."""
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            hand_over(path)
            self.reserved = ReservedSpace(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def begin(self, line: bytes) -> tuple[bool, bool]:
        """Write the first line, unless another process has: whether it was written, and whether the file has locks.

        Raises OSError.
        """
        with durable.exclusive(self._descriptor) as locked:
            if _end_of_lines(self._descriptor):
                return False, locked
            self._write(line)
            return True, locked

    def append(self, line: bytes) -> OSError | None:
        """Write a line; it is on disk when this returns. The disk's error, where only the space held back took it.

        Raises OSError: it could not be written; the file is as it was before.
        """
        with durable.exclusive(self._descriptor):
            try:
                self._write(line)
            except OSError as e:
                if e.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.reserved.release():
                    raise
                with suppress(OSError):
                    self._write(line)
                    return e
                raise
        return None

    def _write(self, data: bytes) -> None:
        """Append `data` whole or not at all: a part that was written before an error or a signal is cut off."""
        end = _end_of_lines(self._descriptor)
        os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, end, os.SEEK_SET)
        try:
            durable.write_all(self._descriptor, data)
            os.fsync(self._descriptor)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise

    def close(self) -> None:
        """Nothing is added any more."""
        self.reserved.release()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _end_of_lines(descriptor: int) -> int:
    """Where the last whole line ends [bytes]: a process that was killed may have left half a line after it."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(end - _BLOCK_BYTES, 0)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
