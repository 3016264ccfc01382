"""A noisy neighbour: it runs where it should, says why it can't, and ends with labkit however that ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid, ToolFailed
from labkit.machine.hosts import LocalHost
from labkit.session.neighbour import PROGRAM, Neighbour, place, running, wanted

pytestmark = pytest.mark.beside

HERE = LocalHost()
CORE = max(os.sched_getaffinity(0))
HOLDS = f"""
import sys, time
from labkit.machine.hosts import LocalHost
from labkit.session.neighbour import running, wanted
with running(wanted(sys.argv[1], None), LocalHost(), [{CORE}]):
    print("go", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def light() -> Neighbour:
    """One that needs little of the machine, and has a name by which its processes are found."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    return wanted("sleep", None)


def processes() -> dict[int, str]:
    """Process ids with their affinity, of every process of the program."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().startswith(PROGRAM):
                status = (folder / "status").read_text()
                found[int(folder.name)] = status.partition("Cpus_allowed_list:")[2].split()[0]
        except OSError:
            continue
    return found


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def test_it_runs_on_the_cores_that_were_given_and_ends(light: Neighbour) -> None:
    before = set(processes())
    with running(light, HERE, [CORE]):
        found = {pid: cores for pid, cores in processes().items() if pid not in before}
        assert found
        assert set(found.values()) == {str(CORE)}
    assert eventually(lambda: not set(processes()) & set(found))


def test_it_ends_with_a_controller_that_is_killed(light: Neighbour) -> None:
    before = set(processes())
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, light.stressors[0]], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "go\n"
        found = set(processes()) - before
        assert found
        holder.send_signal(signal.SIGKILL)
    assert eventually(lambda: not set(processes()) & found)


def test_one_that_does_not_run_is_named_with_what_it_printed(light: Neighbour) -> None:
    odd = Neighbour(("no-such-stressor",))
    with (
        pytest.raises(ToolFailed, match=r"stress-ng no-such-stressor .*unrecognized option"),
        running(odd, HERE, [CORE]),
    ):
        time.sleep(2)


def test_a_place_is_found_or_it_says_why_not(light: Neighbour) -> None:
    every = sorted(os.sched_getaffinity(0))
    assert "no core beside those" in place(light, HERE, every).why_not
    assert place(wanted("sleep", str(CORE)), HERE, every).cores == (CORE,)
    with pytest.raises(ConfigInvalid, match="core 999 is not available"):
        place(wanted("sleep", "999"), HERE, every)


def test_a_machine_without_the_program_is_named_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("sh", "cat", "setpriv"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "stress-ng is not installed (fix: " in place(wanted("stream", None), HERE, [CORE]).why_not
