"""The stacks of Onload's on a host: one has the traffic of a NIC's queue, whoever else measures there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from labkit.backends.onload_proof import STACKS, Stack, stack
from labkit.errors import EnvironmentBroken
from labkit.machine import fix
from labkit.machine.hosts import Host

REQUIRES = ("kernel", "probe_socket", "onload", "onload_interface")
ORPHANED_S = 90.0
"""A stack with TCP outlives its program by some 50 s (TIME_WAIT), and takes the traffic of its queue meanwhile."""
_ASK_EVERY_S = 0.5


@contextmanager
def alone_under_onload(host: Host) -> Iterator[None]:
    """No stack is there before, and at the end none is left: what is measured next on that NIC must not meet it.

    Raises EnvironmentBroken where others use Onload there.
    """
    await_no_stacks(host)
    try:
        yield
    finally:
        with suppress(EnvironmentBroken):  # the next one says so
            await_no_stacks(host)


def stacks(host: Host) -> list[Stack]:
    """The stacks on a host now. Raises EnvironmentBroken where Onload is not loaded there."""
    done = subprocess.run(
        host.argv(["cat", STACKS]), check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise EnvironmentBroken(
            f"Onload is not loaded on {host.name}: {done.stderr.strip()}",
            hint=f"on {host.name}: labkit doctor",
        )
    return [stack(line) for line in done.stdout.splitlines() if line.strip()]


def await_no_stacks(host: Host, *, within_s: float = ORPHANED_S) -> None:
    """Wait for stacks that have outlived their programs. Raises EnvironmentBroken for those of programs that run."""
    deadline = time.monotonic() + within_s
    while found := stacks(host):
        if time.monotonic() > deadline:
            pids = ", ".join(str(one.pid) for one in found)
            raise EnvironmentBroken(
                f"there are {len(found)} stacks of Onload's on {host.name} (pid {pids}): the traffic of their queues "
                "goes to them, also that of other programs",
                hint=f"end these programs; on {host.name}: {fix.as_root('onload_stackdump -z')}",
            )
        time.sleep(_ASK_EVERY_S)
