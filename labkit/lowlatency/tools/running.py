"""Runs a measuring program that is silent until it ends: output, exit code, and what the scheduler did to it.

It must not know what any program measures. The program dies with labkit; Ctrl-C ends it in order. Its shared memory
is removed, however it ends.
"""

from __future__ import annotations

import os
import re
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import IO

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.machine import fix

GRACE_S = 30.0
"""Time that a program may take beyond its duration: it calibrates before and writes its results afterwards."""
END_TIMEOUT_S = 5.0
_START = """
read -r go || exit 143
[ "$1" = own ] && mount -t tmpfs -o mode=1777 tmpfs /dev/shm
shift
exec "$@" </dev/null
"""
"""Waits for "go", or ends if labkit has gone; then runs the program, with a /dev/shm of its own."""
LAST_WORDS = 400
"""Characters of its output that an error quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that has ended."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    involuntary_switches: int
    """Involuntary context switches of all its threads (wait4)."""

    def failed(self, why: str) -> ToolFailed:
        """The error, with its last output."""
        words = (self.stderr.strip() or self.stdout.strip())[-LAST_WORDS:] or "no output"
        return ToolFailed(f"{self.argv[0]}: {why}: {words}")


def binary(name: str, *, package: str) -> str:
    """The path of a program. Raises EnvironmentBroken with the package that provides it.

    Also looks in the folders of system programs, which an ordinary user's PATH often lacks.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        raise EnvironmentBroken(f"{name}: not found", hint=fix.packages(package))
    return found


def said(argv: Sequence[str], pattern: str) -> str | None:
    """What a program prints, as the group of `pattern` matches it; None: not installed, or nothing matches."""
    try:
        command = [binary(argv[0], package=argv[0]), *argv[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=END_TIMEOUT_S)
    except (EnvironmentBroken, OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(pattern, done.stdout + "\n" + done.stderr, re.MULTILINE)
    return match[1] if match else None


def run(
    argv: Sequence[str],
    *,
    duration_s: float,
    ends_with: signal.Signals = signal.SIGKILL,
    before_start: Callable[[int], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    on_second: Callable[[float], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run it to its end. Raises ToolFailed if it still runs long after `duration_s`, EnvironmentBroken if it can't.

    `ends_with` is what the kernel sends it when labkit dies: SIGKILL, or SIGINT or SIGTERM for one that has to clean up
    after itself. If possible it gets a /dev/shm of its own, which goes with it. `before_start` gets the pid that it
    will have, `on_start` the same once it runs, `on_second` the time since then, once a second. Nothing else happens
    here meanwhile, since the program measures this machine.
    """
    own = own_mounts()
    command = ["unshare", "--mount", "--propagation", "private", "--"] if own else []
    command += ["setpriv", "--pdeathsig", ends_with.name.removeprefix("SIG"), "--"]
    command += ["sh", "-c", _START, "sh", "own" if own else "shared"]
    if ends_with is signal.SIGINT:
        # A labkit in the background of a script was started with SIGINT ignored, and would pass that on.
        command += ["env", "--default-signal=INT"]
    command += argv
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                pass_fds=pass_fds,
                start_new_session=True,  # Ctrl-C is for labkit, which ends its programs in order
            )
        except FileNotFoundError as error:
            raise EnvironmentBroken(
                f"{error.filename}: not found", hint=fix.packages("util-linux")
            ) from error
        try:
            if before_start is not None:
                before_start(process.pid)
            _let_go(process)
            if on_start is not None:
                on_start(process.pid)
            usage = _wait(process, argv[0], duration_s, on_second)
        except BaseException:
            end(process, ends_with)
            raise
        return Finished(
            argv=tuple(argv),
            exit_code=process.returncode,
            stdout=_text(out),
            stderr=_text(err),
            involuntary_switches=usage.ru_nivcsw,
        )


def _let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended: its exit code says why
        process.stdin.write(b"go\n")
        process.stdin.flush()
    with suppress(BrokenPipeError):
        process.stdin.close()


@cache
def own_mounts() -> bool:
    """Whether programs can be given a /dev/shm of their own; tried, since no single setting decides it."""
    script = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
    argv = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script]
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _wait(
    process: subprocess.Popen[bytes],
    name: str,
    duration_s: float,
    on_second: Callable[[float], None] | None,
) -> resource.struct_rusage:
    """Wait for its end, awake only for a moment each second. Returns its resource usage."""
    began = time.monotonic()
    descriptor = os.pidfd_open(process.pid)
    try:
        while not select.select([descriptor], [], [], 1.0)[0]:
            passed_s = time.monotonic() - began
            if passed_s > duration_s + GRACE_S:
                raise ToolFailed(
                    f"{name}: still running after {passed_s:.0f} s, {duration_s:g} s were asked for"
                )
            if on_second is not None:
                on_second(passed_s)
    finally:
        os.close(descriptor)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def end(process: subprocess.Popen[bytes], politely: signal.Signals) -> None:
    """End it: first by the signal on which it cleans up (else SIGTERM), then by SIGKILL."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM if politely is signal.SIGKILL else politely)
    try:
        process.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")
