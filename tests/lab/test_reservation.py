"""One measurement at a time on a machine: others are refused, or wait, and the lock dies with its holder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.machine import lock

pytestmark = pytest.mark.beside

HOLD = """
import time
from labkit.machine import lock
with lock.measuring():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def namespace() -> Iterator[int]:
    """A process with a network namespace; its pid."""
    with subprocess.Popen(["unshare", "--net", "--", "sleep", "600"]) as sleeper:
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{sleeper.pid}/ns/net").readlink() == own:
            time.sleep(0.01)
        yield sleeper.pid
        sleeper.kill()


def inside(pid: int, *argv: str) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv]


@pytest.fixture
def held(namespace: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        inside(namespace, sys.executable, "-c", HOLD), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def run(namespace: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        inside(namespace, sys.executable, "-m", "labkit.cli", *arguments),
        capture_output=True,
        text=True,
        timeout=120,
        env={**{k: v for k, v in os.environ.items() if k != "LABKIT_WAIT"}, **environment},
        check=False,
    )


def test_a_second_measurement_is_refused_and_names_who_has_the_machine(
    namespace: int, held: subprocess.Popen[str]
) -> None:
    done = run(namespace, "trial", "--topology", "veth", "--duration", "50 ms")
    assert done.returncode == 3
    assert f"another measurement runs on this machine (pid {held.pid}, user root, started 20" in done.stderr
    assert "--wait" in done.stderr


def test_with_wait_it_begins_when_the_first_has_ended_even_by_kill(
    namespace: int, held: subprocess.Popen[str]
) -> None:
    waiting = subprocess.Popen(
        inside(namespace, sys.executable, "-m", "labkit.cli", "trial", "--topology", "veth", "--wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert f"waiting for another measurement to end, 0 s (pid {held.pid}" in waiting.stderr.readline()
    held.send_signal(signal.SIGKILL)
    out, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, err
    assert "offered" in out


def test_the_wait_ends_when_the_time_is_over(namespace: int, held: subprocess.Popen[str]) -> None:
    assert held.poll() is None
    done = run(namespace, "trial", "--topology", "veth", LABKIT_WAIT="300ms")
    assert done.returncode == 3
    assert "another measurement runs" in done.stderr


def test_a_simulated_lab_needs_no_machine(namespace: int, held: subprocess.Popen[str]) -> None:
    assert held.poll() is None
    assert run(namespace, "trial", "--topology", "sim").returncode == 0


def test_a_time_that_is_none_is_bad_input(namespace: int) -> None:
    for arguments, environment in ((("--wait", "soon"), {}), ((), {"LABKIT_WAIT": "soon"})):
        done = run(namespace, "trial", "--topology", "sim", *arguments, **environment)
        assert done.returncode == 2
        assert "'soon': expected a time such as '90s'" in done.stderr


def test_a_process_that_has_the_machine_may_take_it_again() -> None:
    with lock.measuring(wait_s=60), lock.measuring():
        taken = lock.holder()
        assert taken is not None
        assert taken.pid == os.getpid()


def test_what_works_in_a_lab_that_is_kept_up_is_named_and_the_run_refused(
    namespace: int, tmp_path: Path
) -> None:
    state = {"LABKIT_STATE_DIR": str(tmp_path)}
    assert run(namespace, "up", "--topology", "veth", **state).returncode == 0
    try:
        (lab,) = json.loads(run(namespace, "status", "--json", **state).stdout)
        with subprocess.Popen([*lab["enter"]["dut"], "-c", "exec yes"], stdout=subprocess.DEVNULL) as busy:
            try:
                refused = run(
                    namespace, "trial", "--topology", "veth-forward", "--backend", "xdp", "--wait", **state
                )
                allowed = run(namespace, "trial", "--duration", "50 ms", **state)  # in that very lab
            finally:
                busy.kill()
    finally:
        assert run(namespace, "down", **state).returncode == 0
    assert refused.returncode == 3
    assert "the lab veth is up" in refused.stderr
    assert "yes (pid " in refused.stderr
    assert "labkit down" in refused.stderr
    assert allowed.returncode == 0, allowed.stderr
