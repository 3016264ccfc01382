"""Standard output and error that work in any encoding, at any width, and after the reader has gone.

Without UTF-8, characters are replaced by ASCII. A pipe that is closed early (`labkit report | head`) does not change
the exit code. Output that is not a terminal has no width limit, so that nothing is cut.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
import unicodedata
from typing import IO, TYPE_CHECKING

from labkit.errors import EnvironmentBroken

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console

PLAIN_ERRORS = "labkit-plain"
"""Name of the codec error handler that replaces characters which an encoding lacks."""
PLAIN = {
    "≥": ">=",
    "≤": "<=",
    "µ": "u",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "·": "-",
    "…": "...",
    "→": "->",
    "“": '"',
    "”": '"',
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{NO-BREAK SPACE}": " ",
}
UNLIMITED = 100_000
"""Columns of output that is not a terminal."""


def _plain_letter(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace one character that the encoding lacks; an undecodable byte of a file name stays as it is."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if 0xDC80 <= ord(letter) <= 0xDCFF:
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return PLAIN.get(letter, bare or "?"), error.start + 1


codecs.register_error(PLAIN_ERRORS, _plain_letter)


def plain(text: str, encoding: str | None) -> str:
    """The text in characters that the encoding has (None: any)."""
    if encoding is None:
        return text
    try:
        return text.encode(encoding, PLAIN_ERRORS).decode(encoding, "replace")
    except LookupError:
        return text.encode("ascii", PLAIN_ERRORS).decode()


class _Lasting(io.RawIOBase):
    """A standard stream; after its reader has gone, the rest is discarded."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # a pipe that another program made non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._discard()
                if error.errno in (errno.EPIPE, errno.EIO):  # EIO: the terminal was closed
                    return memoryview(data).nbytes
                raise EnvironmentBroken(
                    f"the output can't be written: {error.strerror}",
                    hint="free disk space, or write the output elsewhere",
                ) from error

    def _discard(self) -> None:
        nobody = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nobody, self._descriptor)
        os.close(nobody)


def secure() -> None:
    """Have both standard streams survive a closed pipe. Called once, before anything is printed."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            _fill(descriptor)  # it was closed: the next file that is opened must not get its number
            encoding, at_once = "utf-8", False
        elif _is_standard(stream, descriptor):
            stream.flush()
            encoding, at_once = stream.encoding, stream.line_buffering or stream.write_through
        else:
            continue  # captured, by pytest for example
        lasting = io.TextIOWrapper(
            io.BufferedWriter(_Lasting(descriptor)),
            encoding=encoding,
            errors=PLAIN_ERRORS,
            line_buffering=at_once or descriptor == 2,
        )
        setattr(sys, name, lasting)
        setattr(sys, f"__{name}__", lasting)


def _is_standard(stream: object, descriptor: int) -> bool:
    """Whether it is the interpreter's own stream, not replaced yet."""
    if not isinstance(stream, io.TextIOWrapper):
        return False
    try:
        if stream.fileno() != descriptor:
            return False
    except OSError:  # one in memory has none
        return False
    # With PYTHONUNBUFFERED there is no buffer in between.
    return not isinstance(getattr(stream.buffer, "raw", stream.buffer), _Lasting)


def _fill(descriptor: int) -> None:
    nobody = os.open(os.devnull, os.O_WRONLY)
    if nobody != descriptor:
        os.dup2(nobody, descriptor)
        os.close(nobody)


def tolerate(stream: IO[str] | None) -> None:
    """Have another's stream (pytest's) replace characters that it cannot encode, instead of raising."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors != PLAIN_ERRORS:
        stream.reconfigure(errors=PLAIN_ERRORS)


def flush() -> None:
    """Write what is left, while an error can still be reported."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether it is a terminal with a width. TERM=dumb (an editor, a log) has none."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def console(file: IO[str] | None = None, *, width: int | None = None) -> Console:
    """A console on `file` (default: stdout): as wide as the terminal, or unlimited if it is not one."""
    from rich.console import Console

    file = sys.stdout if file is None else file
    if width is None and not is_terminal(file):
        width = UNLIMITED
    # With a height, too: else rich takes a dumb terminal for 80 columns wide, whatever the width.
    return Console(file=file, width=width, height=None if width is None else 25, highlight=False)
