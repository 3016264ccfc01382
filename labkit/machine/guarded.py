"""A program of the user's own, on any host: it, and all that it starts, ends with labkit, however that ends.

It knows nothing of labkit and reads no input, so a shell beside it does: that one's input ends with this process or
with the connection, and then it ends the program's whole session.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.machine.hosts import Host

OUTPUT_LINES = 20
OUTPUT_KEPT_BYTES = 4 << 20
"""Of its output in a file: a program that prints a line for each frame must not fill the disk."""
END_S = 2
"""Between SIGTERM and SIGKILL."""
_POLL_S = 0.02
_FOUND = "labkit: pid "
# Both have sessions of their own, so that one kill ends all of each. The guard's output is not the pipe, which would
# stay open with it.
_GUARD = f"""
exec 3<&0
setsid sh -c 'echo "{_FOUND}$$"; exec "$@"' sh "$@" </dev/null 3<&- &
child=$!
setsid sh -c 'cat <&3; kill -s TERM -- "-$1" && sleep {END_S}; kill -s KILL -- "-$1"' sh "$child" >/dev/null 2>&1 &
guard=$!
exec 3<&-
wait "$child"
code=$?
kill -s KILL -- "-$child" 2>/dev/null
kill -s KILL -- "-$guard" 2>/dev/null
exit "$code"
"""


class GuardedProgram:
    """It runs for the time of the context. `called` is its name in messages."""

    def __init__(
        self, host: Host, command: Sequence[str], *, called: str, output: Path | None = None
    ) -> None:
        """Start it. `output`: a file that what it prints is added to. Raises EnvironmentBroken."""
        self.called = called
        self._host = host
        self._lines: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._kept_bytes = 0
        self._pid: int | None = None
        self._file: BinaryIO | None = None
        if output is not None:
            try:
                self._file = output.open("ab")
            except OSError as error:
                raise EnvironmentBroken(f"{output}: {error.strerror}") from error
        self._process = subprocess.Popen(
            host.argv(["sh", "-c", _GUARD, "sh", *command], cleans_up=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        pipe = self._process.stdout
        for line in pipe or ():
            text = line.decode(errors="replace").rstrip()
            if self._pid is None and text.startswith(_FOUND):
                self._pid = int(text.removeprefix(_FOUND))
                continue
            self._lines.append(text)
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        if self._file is None or self._kept_bytes >= OUTPUT_KEPT_BYTES:
            return
        self._kept_bytes += len(line)
        if self._kept_bytes >= OUTPUT_KEPT_BYTES:
            line = b"labkit: what it printed from here on was not kept\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError:  # a full disk: the measurement goes on
            self._kept_bytes = OUTPUT_KEPT_BYTES

    @property
    def session(self) -> int:
        """The id of its session, which is its process id where it is. Raises ToolFailed where it did not start."""
        self._await(lambda: self._pid is not None, within_s=10.0, what="did not start")
        assert self._pid is not None
        return self._pid

    @property
    def output(self) -> str:
        """The last lines that it printed."""
        return "\n".join(self._lines) or "no output"

    def await_ready(self, is_ready: Callable[[], bool], *, within_s: float) -> None:
        """Wait until it is. Raises ToolFailed, with what it printed, where it ends before or takes too long."""
        self._await(is_ready, within_s=within_s, what=f"was not ready in {within_s:g} s")

    def await_for(self, seconds: float) -> None:
        """Wait so long. Raises ToolFailed where it ends meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            time.sleep(_POLL_S)

    def _await(self, holds: Callable[[], bool], *, within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            self.check_alive()
            if time.monotonic() > deadline:
                raise ToolFailed(f"{self.called} {what}; it printed: {self.output}")
            time.sleep(_POLL_S)

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last lines, if it has ended."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(timeout=1)
            how = self._host.ended(_of_shell(code))
            raise ToolFailed(f"{self.called} {how}; it printed: {self.output}")

    def printed(self, text: str) -> bool:
        """Whether one of its last lines has this in it."""
        return any(text in line for line in tuple(self._lines))

    def close(self) -> None:
        """End it. Does nothing the second time."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(timeout=END_S + 8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(timeout=1)
        if process.stdout is not None and not self._reader.is_alive():
            process.stdout.close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _of_shell(code: int) -> int:
    """A program's exit code from that of a shell: negative for a signal, as `subprocess` has it."""
    return 128 - code if 128 < code < 192 else code
