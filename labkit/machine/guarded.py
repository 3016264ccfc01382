"""A program of the user's own, on any host: it, and all that it starts, ends with labkit, however that ends.

It knows nothing of labkit and reads no input, so a shell beside it does: that one's input ends with this process or
with the connection, and then it ends the program's process group, and whatever else has the program's mark in its
environment (a daemon, what has a session of its own).
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.machine.hosts import Host
from labkit.machine.ownership import hand_over

OUTPUT_LINES = 20
LINE_BYTES = 4096
"""Of a line: a program that ends none must not fill the memory."""
OUTPUT_KEPT_BYTES = 4 << 20
"""Of its output in a file: a program that prints a line for each frame must not fill the disk."""
START_S = 10.0
END_S = 2
"""Between SIGTERM and SIGKILL."""
MARK = "LABKIT_PROGRAM"
"""Variable in its environment, and in that of all that it starts: which program it is."""
_POLL_S = 0.02
_PIECE_BYTES = 1 << 16
_FOUND = b"labkit: pid "
_CUT_OFF = b"\nlabkit: what it printed from here on was not kept\n"
# Both have sessions of their own, so that one kill ends all of each; a program whose guard is killed dies with it. The
# guard's output is not the pipe, which would stay open with it. A process that was started meanwhile is found in the
# next turn.
_GUARD = f"""
mark=$1
shift
end_marked() {{
    for turn in 1 2 3; do
        found=$(grep -lsz "^{MARK}=$mark\\$" /proc/[0-9]*/environ | cut -d/ -f3)
        [ -n "$found" ] || break
        kill -s KILL $found
        sleep 0.05
    done
}}
exec 3<&0
{MARK}=$mark setsid setpriv --pdeathsig KILL -- sh -c 'echo "labkit: pid $$"; exec "$@"' sh "$@" </dev/null 3<&- &
child=$!
setsid sh -c 'cat <&3; kill -s TERM -- "-$1" && sleep {END_S}; kill -s KILL -- "-$1"' sh "$child" >/dev/null 2>&1 &
guard=$!
exec 3<&- 2>/dev/null
wait "$child"
code=$?
kill -s KILL -- "-$child"
end_marked
kill -s KILL -- "-$guard"
exit "$code"
"""


class GuardedProgram:
    """It runs for the time of the context. `called` is its name in messages."""

    def __init__(
        self,
        host: Host,
        command: Sequence[str],
        *,
        called: str,
        output: Path | None = None,
        awaited: str = "",
    ) -> None:
        """Start it. `output`: a file that what it prints is added to; `awaited`: see `printed`.

        Raises EnvironmentBroken.
        """
        self.called = called
        self.mark = uuid.uuid4().hex
        self._host = host
        self._lines: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._line = b""
        self._awaited = awaited.encode()
        self._tail = b""
        self._printed = not awaited
        self._kept_bytes = 0
        self._pid: int | None = None
        self._file: BinaryIO | None = None
        if output is not None:
            try:
                self._file = output.open("ab")
                hand_over(output)
            except OSError as error:
                raise EnvironmentBroken(f"{output}: {error.strerror}") from error
        self._process = subprocess.Popen(
            host.argv(["sh", "-c", _GUARD, "sh", self.mark, *command], cleans_up=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        pipe = self._process.stdout
        while pipe is not None and (piece := os.read(pipe.fileno(), _PIECE_BYTES)):
            if self._pid is None and piece.startswith(_FOUND):
                first, _, piece = piece.partition(b"\n")
                self._pid = int(first.removeprefix(_FOUND))
            if not self._printed:
                self._tail = (self._tail + piece)[-(_PIECE_BYTES + len(self._awaited)) :]
                self._printed = self._awaited in self._tail
            *whole, rest = (self._line + piece).split(b"\n")
            self._lines.extend(line[:LINE_BYTES].decode(errors="replace") for line in whole[-OUTPUT_LINES:])
            self._line = rest[-LINE_BYTES:]
            self._keep(piece)

    def _keep(self, piece: bytes) -> None:
        room = OUTPUT_KEPT_BYTES - self._kept_bytes
        if self._file is None or room <= 0 or not piece:
            return
        self._kept_bytes += len(piece)
        try:
            self._file.write(piece if len(piece) < room else piece[:room] + _CUT_OFF)
            self._file.flush()
        except OSError:  # a full disk: the measurement goes on
            self._kept_bytes = OUTPUT_KEPT_BYTES

    @property
    def pid(self) -> int:
        """Its process id where it is, which is that of its session. Raises ToolFailed where it did not start."""
        self.await_ready(lambda: "" if self._pid is not None else "it did not start", within_s=START_S)
        assert self._pid is not None
        return self._pid

    @property
    def output(self) -> str:
        """The last lines that it printed; a control character is shown as a question mark."""
        lines = [*self._lines, *([self._line.decode(errors="replace")] if self._line else [])]
        text = "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)
        return text.strip() or "no output (it goes into a pipe: a program that buffers it must flush)"

    def await_ready(self, lacks: Callable[[], str], *, within_s: float) -> None:
        """Wait until it lacks nothing any more: `lacks` says what, empty for nothing.

        Raises ToolFailed, with that and what it printed, where it ends before or takes too long.
        """
        deadline = time.monotonic() + within_s
        while why := lacks():
            self.check_alive()
            if time.monotonic() > deadline:
                raise ToolFailed(
                    f"{self.called} was not ready in {within_s:g} s: {why}; it printed: {self.output}"
                )
            time.sleep(_POLL_S)

    def await_for(self, seconds: float) -> None:
        """Wait so long. Raises ToolFailed where it ends meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            time.sleep(_POLL_S)

    def await_end(self, *, within_s: float) -> int | None:
        """Its exit code; None: it has not ended in time."""
        try:
            code = self._process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(timeout=1)
        return code

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last lines, if it has ended."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(timeout=1)
            how = self._host.ended(_of_shell(code))
            raise ToolFailed(f"{self.called} {how}; it printed: {self.output}")

    @property
    def printed(self) -> bool:
        """Whether it has printed what was awaited."""
        return self._printed

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
