"""Network namespaces held by a process: they end with it, however it ends.

A holder is a shell in a network and a mount namespace of its own. It has a fresh sysfs on /sys (which shows that
namespace's interfaces; where parts of /sys are masked, as in a container without root, the kernel refuses it, and what
needs it is reported as refused), a private tmpfs on /run (sockets and EAL files that nobody has to clean up) and,
where the kernel allows it, a private BPF file system. It waits on its standard input: end of file means that the
controller has ended, for whatever reason. A detached holder (`labkit up`) is sent the line "stay".
"""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from labkit.errors import EnvironmentBroken
from labkit.machine import fix
from labkit.machine.hosts import DIE_WITH_PARENT, NamespaceHost
from labkit.machine.process import Identity, identify

CLONE_NEWNET = 0x40000000
RUNTIME_DIRECTORY = "/run/labkit"
"""In the holder's own /run; mode 0700."""

_SCRIPT = f"""
set -e
mount -t sysfs sysfs /sys 2>/dev/null || true
mount -t tmpfs -o mode=0755,size=16m tmpfs /run
mkdir -m 0700 {RUNTIME_DIRECTORY}
mount -t bpf bpf /sys/fs/bpf 2>/dev/null || true
echo "ready $$"
while read -r word; do
    if [ "$word" = stay ]; then exec sleep infinity </dev/null >/dev/null 2>&1; fi
done
"""
_START_DEADLINE_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class NamespaceHolder:
    """A running process that holds a network and a mount namespace."""

    host: NamespaceHost
    identity: Identity
    process: subprocess.Popen[bytes]
    """What was started: the holder itself, or (detached) what forked it off and ended."""

    def stay(self) -> None:
        """Let it outlive the controller. Only after its identity was written down."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"stay\n")
        self._close()

    def end(self) -> None:
        """Kill it and take its exit status: the namespace goes with its last process."""
        self.identity.kill()
        self._close()

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()


def start_holder(name: str, *, detached: bool = False) -> NamespaceHolder:
    """Start a holder and wait until its namespaces are ready.

    Not detached, it also dies with the thread that started it. Raises EnvironmentBroken when refused.
    """
    start = ["setsid", "--fork", "unshare"] if detached else ["unshare"]
    until = [] if detached else list(DIE_WITH_PARENT)
    argv = [*start, "--net", "--mount", "--propagation", "private", "--", *until, "sh", "-c", _SCRIPT]
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
    except FileNotFoundError as error:
        raise EnvironmentBroken(
            f"{error.filename} is not installed", hint=fix.packages("util-linux")
        ) from None
    assert process.stdout is not None
    assert process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_DEADLINE_S)
    words = process.stdout.readline().split() if ready else []
    if words[:1] != [b"ready"]:
        process.kill()
        said = process.communicate()[1].decode(errors="replace").strip() or "no output"
        raise EnvironmentBroken(
            f"creating a network namespace for {name} failed: {said}",
            hint=fix.again_as_root(),
        )
    pid = int(words[1])
    return NamespaceHolder(NamespaceHost(name, pid), identify(pid), process)


@contextmanager
def held_namespace(name: str) -> Iterator[NamespaceHost]:
    """A network namespace for the time of the context; it dies with this process too."""
    holder = start_holder(name)
    try:
        yield holder.host
    finally:
        holder.end()


@contextmanager
def inside(pid: int) -> Iterator[None]:
    """Run the calling thread in the network namespace of process `pid`: sockets and /proc/sys/net are that one's."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(before)
    finally:
        os.close(before)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise EnvironmentBroken(
            f"setns into a network namespace: {os.strerror(number)}",
            hint=fix.again_as_root(),
        )
