"""records.jsonl, open for writing: each record is on disk whole, or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from labkit.machine import durable
from labkit.machine.ownership import hand_over
from labkit.record.space import ReservedSpace


class RecordFile:
    """Appends lines. Space is held back from the beginning, for the line at which the disk turns out to be full."""

    def __init__(self, path: Path) -> None:
        """Make the file, which is new. Raises OSError."""
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        self._size_bytes = 0
        try:
            hand_over(path)
            self.reserved = ReservedSpace(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, line: bytes) -> OSError | None:
        """Write a line; it is on disk when this returns. The disk's error, where only the space held back took it.

        Raises OSError: it could not be written; the file is as it was before.
        """
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
        os.ftruncate(self._descriptor, self._size_bytes)
        os.lseek(self._descriptor, self._size_bytes, os.SEEK_SET)
        try:
            durable.write_all(self._descriptor, data)
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size_bytes)
            raise
        self._size_bytes += len(data)

    def close(self) -> None:
        """Nothing is added any more."""
        self.reserved.release()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
