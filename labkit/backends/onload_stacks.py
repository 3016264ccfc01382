"""The stacks of Onload's on a host: one has the traffic of a NIC's queue, whoever else measures there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from labkit.backends.onload_proof import STACKS, Stack, stack
from labkit.errors import EnvironmentBroken
from labkit.lab.live import Lab
from labkit.machine import fix
from labkit.machine.hosts import Host

REQUIRES = ("kernel", "probe_socket", "onload", "onload_interface")
ORPHANED_S = 90.0
"""A stack with TCP outlives its program by some 50 s (TIME_WAIT), and takes the traffic of its queue meanwhile."""
_ASK_EVERY_S = 0.5


@contextmanager
def alone_under_onload(host: Host) -> Iterator[None]:
    """No stack is there before, and at the end none is left: what is measured next on that NIC must not meet it.

    Raises EnvironmentBroken where others use Onload there, or it is not loaded.
    """
    await_no_stacks(host)
    try:
        yield
    finally:
        with suppress(EnvironmentBroken):  # whatever is measured next in this lab says so: `undisturbed`
            await_no_stacks(host)


def undisturbed(lab: Lab) -> None:
    """Wait until no stack has traffic of a lab that is also measured under Onload. Raises EnvironmentBroken: one stays.

    It would slow the kernel's own path there, and Onload would look fast beside that.
    """
    used = "onload" in lab.topology.backends or any(command.onload for command in lab.topology.commands)
    host = lab.dut_ports[0].host
    if used and _read(host) is not None:
        await_no_stacks(host)


def stacks(host: Host) -> list[Stack]:
    """The stacks on a host now. Raises EnvironmentBroken where Onload is not loaded there."""
    text = _read(host)
    if text is None:
        raise EnvironmentBroken(
            f"Onload is not loaded on {host.name}: it has no {STACKS}", hint=f"on {host.name}: labkit doctor"
        )
    return [stack(line) for line in text.splitlines() if line.strip()]


def _read(host: Host) -> str | None:
    """The file; None where there is none."""
    done = subprocess.run(
        host.argv(["cat", STACKS]), check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return None if done.returncode else done.stdout


def await_no_stacks(host: Host) -> None:
    """Wait for stacks that have outlived their programs. Raises EnvironmentBroken for those of programs that run."""
    deadline = time.monotonic() + ORPHANED_S
    while found := stacks(host):
        if time.monotonic() > deadline:
            pids = ", ".join(str(one.pid) for one in found)
            raise EnvironmentBroken(
                f"there are {len(found)} stacks of Onload's on {host.name} (pid {pids}): the traffic of their queues "
                "goes to them, also that of other programs",
                hint=f"end these programs; on {host.name}: {fix.as_root('onload_stackdump -z')}",
            )
        time.sleep(_ASK_EVERY_S)
