"""External programs: what they are started with, what is read from their recorded output, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.lowlatency.tools import cyclictest, hwlatdetect, rt_tests, rtla, running
from labkit.machine.undo import down

DATA = Path(__file__).parents[1] / "unit" / "data"


def test_a_program_that_is_not_there_is_reported_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.lowlatency.tools.running.shutil.which", lambda *_, **__: None)
    with pytest.raises(EnvironmentBroken, match=r"cyclictest: not found\n.*apt-get install rt-tests"):
        cyclictest.Cyclictest(cores=(0,), duration_s=1).argv("x")


def test_tracing_is_reverted_although_hwlatdetect_turns_it_off(on_path: Path, tracing: Path) -> None:
    (on_path / "hwlatdetect").write_text(
        f"#!/bin/sh\necho 0 > {tracing}/tracing_on\ncat {DATA}/hwlatdetect/rt-tests-2.4-gaps.txt\nexit 1\n"
    )
    found, done = hwlatdetect.measure(hwlatdetect.Hwlatdetect(duration_s=1), tracing=tracing)
    assert (found.gaps, done.exit_code) == (2, 1)  # 1: the threshold was passed, which is no failure
    assert (tracing / "tracing_on").read_text().strip() == "1"


KILLED = """
import os, signal, sys
from contextlib import suppress
from pathlib import Path
from labkit.lowlatency.tools import hwlatdetect, rtla
tracing = Path(sys.argv[2])
if sys.argv[1] == "hwlatdetect":
    hwlatdetect.measure(hwlatdetect.Hwlatdetect(duration_s=60), tracing=tracing)
else:
    rtla.measure(rtla.Timerlat(cores=(0,), duration_s=60), tracing=tracing)
"""
SETS = {
    "hwlatdetect": "echo 0 > {0}/tracing_on; echo hwlat > {0}/current_tracer",
    "rtla": "echo 1 > {0}/osnoise/cpus; echo 500 > {0}/osnoise/timerlat_period_us; mkdir {0}/instances/timerlat_hist",
}


@pytest.mark.parametrize("tool", ["hwlatdetect", "rtla"])
@pytest.mark.parametrize("both", [True, False])
def test_what_a_killed_tracer_leaves_is_undone(on_path: Path, tracing: Path, tool: str, both: bool) -> None:
    """Killed with labkit (by the kernel's OOM killer, or with its whole control group), or it alone."""
    before = {p: p.read_text().strip() for p in tracing.rglob("*") if p.is_file()}
    script = f"#!/bin/sh\n{SETS[tool].format(tracing)}\ntouch {tracing.parent}/up\nexec sleep 60 </dev/null\n"
    (on_path / tool).write_text(script)
    labkit = subprocess.Popen([sys.executable, "-c", KILLED, tool, str(tracing)], stderr=subprocess.DEVNULL)
    wait_for(lambda: (tracing.parent / "up").exists())
    (pid,) = Path(f"/proc/{labkit.pid}/task/{labkit.pid}/children").read_text().split()
    if both:
        labkit.send_signal(signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGKILL)
    labkit.wait()
    if both:
        assert {p: p.read_text().strip() for p in before} != before
        assert [one.done for one in down()] != []
    assert {p: p.read_text().strip() for p in before} == before
    assert list((tracing / "instances").iterdir()) == []
    assert down() == []


def test_output_and_exit_code_are_kept() -> None:
    done = running.run(["sh", "-c", "echo out; echo err >&2; exit 3"], duration_s=1)
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert "exit code 3: err" in str(done.failed("exit code 3"))


def test_a_program_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GRACE_S", 0.5)
    pids: list[int] = []
    with pytest.raises(ToolFailed, match="still running after"):
        running.run(["sleep", "60"], duration_s=0.1, on_start=pids.append)
    assert not Path(f"/proc/{pids[0]}").exists()


def test_an_interrupt_ends_the_program_first() -> None:
    pids: list[int] = []

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(["sleep", "60"], duration_s=60, on_start=pids.append, on_second=interrupt)
    assert not Path(f"/proc/{pids[0]}").exists()


@pytest.mark.parametrize(("ends_with", "cleaned"), [("SIGKILL", False), ("SIGINT", True)])
def test_a_program_dies_with_labkit_and_one_that_has_to_cleans_up(
    tmp_path: Path, ends_with: str, cleaned: bool
) -> None:
    """Kill -9 of labkit: no program is left, and a tracer's program is asked to restore its settings."""
    mark = tmp_path / "cleaned"
    program = f"trap 'touch {mark}; exit' INT; touch {tmp_path}/up; while :; do sleep 0.05; done"
    code = (
        "import signal; from labkit.lowlatency.tools import running\n"
        f"running.run(['sh', '-c', {program!r}], duration_s=60, ends_with=signal.{ends_with},"
        f" on_start=lambda pid: open({str(tmp_path / 'pid')!r}, 'w').write(str(pid)))"
    )
    labkit = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: (tmp_path / "up").exists())
    pid = int((tmp_path / "pid").read_text())
    labkit.send_signal(signal.SIGKILL)
    labkit.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
    assert mark.exists() is cleaned


def wait_for(holds, deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_tools_are_asked_for_their_version(on_path: Path) -> None:
    (on_path / "rtla").write_text("#!/bin/sh\necho >&2; echo rtla version 6.1 >&2; exit 1\n")
    (on_path / "cyclictest").write_text("#!/bin/sh\necho cyclictest V 2.40\necho Usage:\n")
    assert (rtla.version(), rt_tests.version()) == ("6.1", "2.40")


def test_a_tool_that_tells_no_version_or_is_not_there_has_none(
    on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (on_path / "rtla").write_text("#!/bin/sh\necho 6.1\n")
    assert rtla.version() is None
    monkeypatch.setenv("PATH", "/nonexistent")
    assert rt_tests.version() is None
