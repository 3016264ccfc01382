"""What is read of the processes that work for a measurement: a thread, or all of a session."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.record import readings

CORES = sorted(os.sched_getaffinity(0))
STARTS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"])
print("ready", flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    """A program with a session of its own, which sleeps; a child of it is busy, another was."""
    core = CORES[0]
    with subprocess.Popen(
        ["taskset", "-c", str(core), "python3", "-c", STARTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.communicate()


def test_the_time_of_a_session_is_that_of_all_its_processes(program: subprocess.Popen[str]) -> None:
    def own(worker: int) -> int:
        return readings.read({"dut": (worker, CORES[-1] + 1)}).own_user[CORES[-1] + 1]

    alone, before = own(program.pid), own(-program.pid)
    assert before > alone, "a child that has ended counts"
    deadline = time.monotonic() + 20
    while own(-program.pid) < before + 10 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert own(-program.pid) >= before + 10, "one that runs counts"
    assert own(program.pid) < alone + 10, "of a thread it is that of its process"


@pytest.mark.skipif(len(CORES) < 2, reason="one core")
def test_a_session_may_run_where_any_of_its_threads_may(program: subprocess.Popen[str]) -> None:
    def allowed(worker: int) -> tuple[int, ...] | None:
        return readings.read({"dut": (worker, CORES[0])}).allowed_cores.get("dut")

    assert allowed(-program.pid) == (CORES[0],)
    (child,) = map(int, Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split())
    os.sched_setaffinity(child, {CORES[1]})
    assert allowed(-program.pid) == (CORES[0], CORES[1])
    assert allowed(program.pid) == (CORES[0],)


def test_a_session_that_is_gone_is_nowhere() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()
    found = readings.read({"dut": (-process.pid, CORES[0])})
    assert found.allowed_cores == {}
    assert found.own_user[CORES[0]] >= 0
