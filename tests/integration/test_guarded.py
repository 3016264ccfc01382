"""A program of the user's own ends with what watches it, however that ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from labkit.machine.guarded import GuardedProgram
from labkit.machine.hosts import LocalHost


def test_a_program_dies_with_its_guard() -> None:
    with GuardedProgram(LocalHost(), ["sleep", "987"], called="it") as program:
        pid = program.pid
        (guard,) = [
            int(line.split()[1])
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("PPid:")
        ]
        os.kill(guard, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{pid}").exists()
