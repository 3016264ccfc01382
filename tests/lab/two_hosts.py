"""What tests of labs of two hosts share."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.lab.ssh_host import TwoHosts

NEEDS_SSH_SERVER = pytest.mark.skipif(
    shutil.which("dropbear", path="/usr/sbin:/usr/bin:/sbin:/bin") is None,
    reason="no SSH server to reach a namespace by: apt-get install dropbear-bin",
)
DEADLINE_S = 30.0
RUN_S = 400.0
"""A run takes 15 s here; on a machine of half the speed, with another test beside, several times that."""


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def running(two: TwoHosts, engine: str) -> bool:
    """Whether the probe runs on alpha: not what starts it."""
    lines = two.alpha.processes().values()
    return any(line.startswith("/") and line.endswith(f"/labkit-probe-{engine}") for line in lines)


def long_trial(two: TwoHosts) -> subprocess.Popen[str]:
    """A trial that runs: the DUT's probe is up on alpha."""
    process = subprocess.Popen(
        two.argv("trial", "--duration", "60 s"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert eventually(lambda: running(two, "socket") or process.poll() is not None)
    assert process.poll() is None
    return process
