"""A program that answers commands: JSON lines on its standard input and output, until its input ends.

A command is {"id", "cmd", ...}, its answer {"id", "ok": true, "result"} or {"id", "ok": false, "error": {"code",
"message", "hint"}}. Nothing here knows what the commands are.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitBug, LabkitError, ToolFailed
from labkit.machine import fix
from labkit.machine.hosts import Host
from labkit.machine.lock import Busy

ANSWER_TIMEOUT_S = 10.0
END_TIMEOUT_S = 3.0
WATCH_EVERY_S = 1.0
STDERR_LINES = 40


class Program:
    """It runs. Leaving the context ends it: the command quit, then SIGTERM, then SIGKILL, by its pid.

    Start it from a thread that outlives it: the kernel kills it when the thread that started it ends.
    """

    def __init__(self, host: Host, command: Sequence[str], *, called: str, cleans_up: bool = False) -> None:
        """Start it on a host. `called` is its name in messages; `cleans_up`: see `Host.argv`."""
        self.called = called
        self.watch: Callable[[], None] | None = None
        """Called each second while an answer is awaited; what it raises ends the wait."""
        self._ended = host.ended
        self._last_id = 0
        self._buffer = b""
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            host.argv(command, cleans_up=cleans_up),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the controller, which ends its programs in order
        )
        self._reader = threading.Thread(target=self._drain_stderr, daemon=True)
        self._reader.start()

    def _drain_stderr(self) -> None:
        pipe = self._process.stderr
        if pipe is not None:
            for line in pipe:
                self._stderr.append(line.decode(errors="replace").rstrip())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _died(self, doing: str) -> LabkitError:
        try:
            code = self._process.wait(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return ToolFailed(f"{self.called} closed its output while {doing}")
        self._reader.join(timeout=1)
        words = "\n".join(self._stderr) or "no output on stderr"
        return ToolFailed(f"{self.called} {self._ended(code)} while {doing}: {words}")

    @property
    def alive(self) -> bool:
        """Whether it runs, and over SSH whether the connection is there."""
        return self._process.poll() is None

    def check_alive(self) -> None:
        """Raise ToolFailed, with its last output, if it has died."""
        if self._process.poll() is not None:
            raise self._died("no command was running")

    def command(
        self, cmd: str, *, timeout_s: float = ANSWER_TIMEOUT_S, **arguments: object
    ) -> dict[str, Any]:
        """Send a command, wait for its answer, return the `result`. Other threads wait until it is answered.

        Raises ToolFailed (it died, or did not answer in time), EnvironmentBroken (the system refused; Busy: another
        process has the machine) or ConfigInvalid.
        """
        with self._asking:
            return self._ask(cmd, timeout_s, arguments)

    def _ask(self, cmd: str, timeout_s: float, arguments: Mapping[str, object]) -> dict[str, Any]:
        self._last_id += 1
        line = json.dumps({"id": self._last_id, "cmd": cmd, **arguments}).encode() + b"\n"
        stdin = self._process.stdin
        if stdin is None:
            raise LabkitBug(f"{self.called} was started without a pipe")
        try:
            stdin.write(line)
            stdin.flush()
        except BrokenPipeError:
            raise self._died(f"the command {cmd} was sent") from None
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._next_answer(deadline, cmd)
            if answer.get("id") in (self._last_id, None):
                break  # an answer to an earlier command that timed out is passed over
        if answer.get("ok") is True:
            result: dict[str, Any] = answer["result"]
            return result
        raise self._refusal(cmd, answer.get("error", {}))

    def _refusal(self, cmd: str, error: Mapping[str, str]) -> LabkitError:
        text = f"{self.called}, {cmd}: {error.get('message')}"
        match error.get("code"):
            case "refused":
                return EnvironmentBroken(text, hint=error.get("hint") or fix.labkit("doctor"))
            case "busy":
                return Busy(text, hint=error.get("hint"))
            case "bad-argument":
                return ConfigInvalid(text, hint=error.get("hint"))
            case _:
                return ToolFailed(text, hint=error.get("hint"))

    def _next_answer(self, deadline: float, cmd: str) -> dict[str, Any]:
        stdout = self._process.stdout
        if stdout is None:
            raise LabkitBug(f"{self.called} was started without a pipe")
        while b"\n" not in self._buffer:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise ToolFailed(f"{self.called} did not answer the command {cmd} in time")
            if not select.select([stdout], [], [], min(left_s, WATCH_EVERY_S))[0]:
                if self.watch is not None:
                    self.watch()
                continue
            data = os.read(stdout.fileno(), 1 << 20)
            if not data:
                raise self._died(f"the command {cmd} was running")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise ToolFailed(f"{self.called} did not answer in JSON: {line[:200]!r}") from error
        return answer

    def close(self) -> None:
        """End it. Does nothing the second time."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            try:
                process.stdin.write(b'{"id": 0, "cmd": "quit"}\n')
                process.stdin.close()
            except BrokenPipeError:
                pass
        for end in (None, process.terminate, process.kill):
            if end is not None:
                end()
            try:
                process.wait(timeout=END_TIMEOUT_S)
                break
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(timeout=1)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None and not self._reader.is_alive():
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
