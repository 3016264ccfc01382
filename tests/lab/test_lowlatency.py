"""The host itself, measured for real by the tools themselves: what they find, and that a disturbance is found.

Function and invariants only: how fast this machine is says nothing of labkit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from labkit import doctor
from labkit.lowlatency.hostlatency import HostResult, Request, measure
from labkit.measure.histogram import decode
from labkit.measure.hosttimes import HostTimes
from labkit.record import environment
from tests.alive import runs

CORE = max(os.sched_getaffinity(0))

HOG = """
import os, time
os.sched_setaffinity(0, {%d})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
while True:
    end = time.monotonic() + 0.03
    while time.monotonic() < end:
        pass
    time.sleep(0.2)
"""
"""Takes the core for 30 ms again and again, of a higher priority than anything that measures."""


@pytest.fixture(autouse=True)
def tools() -> None:
    for finding in doctor.run(["cyclictest", "oslat"]):
        if not finding.ok:
            pytest.skip(f"{finding.id}: {finding.error} (fix: {finding.fix})")


def wakeup(*, duration_s: int = 2, interval_us: int = 500) -> tuple[HostResult, HostTimes]:
    request = Request(kind="wakeup", duration_s=duration_s, interval_us=interval_us, cores=(CORE,))
    found = measure(request, guest=environment.is_guest())
    times = found.payload["wakeup"]
    assert isinstance(times, HostTimes)
    return found, times


def test_wakeups_are_counted_by_a_thread_that_is_what_it_is_said_to_be() -> None:
    found, times = wakeup()
    (core,) = times.cores
    assert core.core == CORE
    assert found.proof.proven, found.proof
    assert found.proof.evidence[f"core {CORE}"] == f"SCHED_FIFO 95, allowed on [{CORE}]"
    gates = {gate.name: gate.state for gate in found.gates}
    assert gates["affinity"] == "ok"
    assert {"steal", "clock", "switches", "guest", "beyond", "omitted"} <= gates.keys()
    assert decode(core.times).get_total_count() == core.counted + core.omitted
    assert core.min_us <= core.p50_us <= core.p99_us <= core.max_us
    # All that fell due in 2 s, whether it took place or was slept through.
    assert core.counted + core.omitted == pytest.approx(4_000, rel=0.1)
    assert core.p9999_us is None


@contextmanager
def hog() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", HOG % CORE])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_what_takes_the_core_away_is_found() -> None:
    """A measurement that cannot see this would call every kernel good."""
    with hog():
        _, times = wakeup()
    (core,) = times.cores
    assert core.max_us > 20_000
    assert core.omitted > 100  # some 40 wake-ups a turn of the hog's
    assert core.p99_us > 1_000


def test_a_busy_loop_sees_it_too() -> None:
    with hog():
        found = measure(
            Request(kind="busy_loop", duration_s=2, interval_us=500, cores=(CORE,)),
            guest=environment.is_guest(),
        )
    times = found.payload["busy_loop"]
    assert isinstance(times, HostTimes)
    (core,) = times.cores
    assert found.proof.proven, found.proof
    assert core.max_us > 20_000
    assert core.beyond > 0  # longer than oslat's buckets reach: counted, as its maximum
    assert core.times.n == core.counted


def test_tracers_that_the_kernel_lacks_are_skipped_with_the_fix() -> None:
    for finding in doctor.run(["hwlatdetect", "timerlat"]):
        assert finding.ok or (finding.error and finding.fix), finding


def cyclictests(parent: int) -> list[int]:
    """The cyclictest that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        if name.endswith("(cyclictest") and int(rest.split()[1]) == parent:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_labkit_ended_in_the_midst_leaves_no_program_and_keeps_its_record(
    tmp_path: Path, how: signal.Signals
) -> None:
    command = [sys.executable, "-m", "labkit.cli", "run", "-m", "lowlatency", "--results", str(tmp_path)]
    run = subprocess.Popen([*command, "--", "-k", "test_wakeup"], stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (started := cyclictests(run.pid)):
        assert run.poll() is None, run.stdout.read() if run.stdout else ""
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1)
    run.send_signal(how)
    run.communicate(timeout=30)
    assert run.returncode == (130 if how is signal.SIGINT else -how)
    end = time.monotonic() + 5
    while any(runs(pid) for pid in started):
        assert time.monotonic() < end
        time.sleep(0.1)


MEASURES = """
import sys
from labkit.lowlatency.hostlatency import Request, measure
from labkit.lowlatency.tools import running
if sys.argv[1] == "shared":  # as where a container may not mount
    running.own_mounts = lambda: False
print("go", flush=True)
measure(Request(kind="wakeup", duration_s=20, interval_us=500, cores=(%d,)), guest=None)
"""


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("victim", "where"), [("labkit", "own"), ("cyclictest", "own"), ("both", "own"), ("both", "shared")]
)
def test_after_kills_at_any_moment_cyclictest_has_left_nothing_that_down_misses(
    victim: str, where: str, kills: int, tmp_path: Path
) -> None:
    """cyclictest keeps a file in /dev/shm, which kill -9 leaves there."""
    dice = random.Random(f"{victim}-{where}")
    environment = {**os.environ, "LABKIT_STATE_DIR": str(tmp_path)}
    before = shared_memory()
    for _ in range(kills):
        labkit = subprocess.Popen(
            [sys.executable, "-c", MEASURES % CORE, where],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert labkit.stdout
        assert labkit.stdout.readline() == "go\n"
        killed_at_s = dice.uniform(0, 0.6)
        time.sleep(killed_at_s)
        tools = children(labkit.pid)
        if victim != "cyclictest":
            labkit.send_signal(signal.SIGKILL)
        for pid in tools if victim != "labkit" else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if victim == "cyclictest" and not tools:
            labkit.kill()  # it was not there yet
        labkit.communicate()
        gone_by = time.monotonic() + 5
        while any(runs(pid) for pid in tools) and time.monotonic() < gone_by:
            time.sleep(0.01)
        down = [sys.executable, "-m", "labkit.cli", "down"]
        assert subprocess.run(down, env=environment, capture_output=True, check=False).returncode == 0
        assert shared_memory() <= before, killed_at_s


def test_the_suite_stores_the_wakeups_of_this_host_and_holds_them_to_the_labs_targets(
    tmp_path: Path,
) -> None:
    veth = (Path(__file__).parents[2] / "topologies" / "veth.yml").read_text()
    (tmp_path / "metal.yml").write_text(veth.replace("tier: software", "tier: hardware"))
    (tmp_path / "metal.targets.yml").write_text(
        "targets:\n  - backend: lowlatency\n    wakeup_p999: <= 10 s\n    wakeup_max: <= 10 s\n"
    )
    command = [sys.executable, "-m", "labkit.cli", "run", "--quick", "-m", "lowlatency"]
    command += ["--results", str(tmp_path / "results"), "--topology", str(tmp_path / "metal.yml")]
    done = subprocess.run(
        [*command, "--allow-invalid", "--retry", "0", "--", "-k", "test_wakeup"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wake-up" in done.stdout
    (folder,) = (tmp_path / "results").iterdir()
    run = json.loads((folder / "results.json").read_text())
    (measurement,) = run["measurements"]
    assert measurement["kind"] == "wakeup"
    assert all(core["p999_us"] is not None for core in measurement["wakeup"]["cores"])
    assert [t["name"] for t in run["environment"]["topologies"]] == ["metal"]
    assert [v["target"] for v in run["verdicts"]] == ["wakeup_p999 <= 10 s", "wakeup_max <= 10 s"]
    percentile, longest = run["verdicts"]
    stolen = [g["name"] for g in measurement["gates"] if g["state"] == "invalid"]
    assert stolen in ([], ["steal"])  # nothing else may spoil it: its threads were read back
    assert measurement["proof"]["proven"]
    assert percentile["outcome"] == ("invalid" if stolen else "pass"), percentile
    assert longest["outcome"] == "invalid"
    assert stolen or "needs 300 s" in longest["reason"]  # a quick run holds no bound on a longest time
    host = (folder / "report.html").read_text().partition('<section id="host">')[2].partition("</section>")[0]
    assert host.count('<figure class="plot">') == 2  # percentiles and histogram
