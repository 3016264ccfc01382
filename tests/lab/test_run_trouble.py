"""Whole runs of the command line on real labs, and what becomes of them in trouble."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import unprivileged

from labkit.errors import EnvironmentBroken
from labkit.machine import snapshot
from labkit.probe import build

LABKIT = [sys.executable, "-m", "labkit.cli"]
DEADLINE_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def built_probe() -> None:
    build.build()


@pytest.fixture
def mark() -> str:
    """In the environment of everything that a test starts, so that only that is looked at."""
    return f"LABKIT_TEST_MARK={uuid.uuid4().hex}"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def environment(mark: str, state: Path) -> dict[str, str]:
    name, value = mark.split("=")
    return {**os.environ, name: value, "LABKIT_STATE_DIR": str(state)}


def labkit(*arguments: str, mark: str, state: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LABKIT, *arguments],
        cwd=cwd,
        env=environment(mark, state),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def started(mark: str, state: Path, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test starts; none outlives it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(
    started: list[subprocess.Popen[str]], *arguments: str, mark: str, state: Path, cwd: Path
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*LABKIT, *arguments],
        cwd=cwd,
        env=environment(mark, state),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def wait_for(condition: object, what: str, process: subprocess.Popen[str]) -> object:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = condition()  # type: ignore[operator]
        if found:
            return found
        if process.poll() is not None:
            raise AssertionError(f"ended before {what}: {process.communicate()}")
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {DEADLINE_S:g} s")


def records(cwd: Path) -> list[dict]:
    lines = [line for file in cwd.glob("results/*/records.jsonl") for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def probes(mark: str) -> dict[str, int]:
    """Running probes of this test, by the engine in their name."""
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
                ours = mark.encode() in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and Path(program).name.startswith("labkit-probe-"):
                found[Path(program).name.removeprefix("labkit-probe-")] = int(entry.name)
    return found


def test_one_datapath_of_each_lab_is_measured_and_proven(mark: str, state: Path, tmp_path: Path) -> None:
    """Function only: what the figures are and what the targets say of them is the machine's affair."""
    function_only = ("--quick", "--allow-invalid", "--retry", "0", "-m", "throughput")
    done = labkit("run", *function_only, mark=mark, state=state, cwd=tmp_path)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "Error" not in done.stdout, done.stdout
    (folder,) = (tmp_path / "results").iterdir()
    run = json.loads((folder / "results.json").read_text())
    measured = {(m["key"].get("backend"), m["key"]["topology"]): m for m in run["measurements"]}
    skipped = {
        (v["key"].get("backend"), v["key"]["topology"]): v["reason"]
        for v in run["verdicts"]
        if v["outcome"] == "skip"
    }
    wanted = {
        ("kernel", "veth"),
        ("af_packet", "veth"),
        ("xdp", "veth"),
        ("af_xdp", "veth"),
        ("kernel", "veth-forward"),
        ("af_packet", "veth-forward"),
        ("xdp", "veth-forward"),
        ("af_xdp", "veth-forward"),
        ("dpdk", "vhost"),
        ("dpdk", "memif"),
    }
    assert wanted <= measured.keys() | skipped.keys()
    assert ("kernel", "veth") in measured
    for key, measurement in measured.items():
        assert measurement["proof"]["proven"], (key, measurement["proof"])
    for m in run["measurements"]:
        if m["kind"] == "mrr":
            assert m["mrr"]["median_pps"] > 1000, m["key"]
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "junit.xml").is_file()


def test_ctrl_c_in_a_search_keeps_what_was_finished_and_takes_the_lab_down(
    mark: str, state: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    before = snapshot.take(mark=mark)
    run = start(
        started,
        "run",
        "--topology",
        "veth",
        "-m",
        "kernel and throughput",
        mark=mark,
        state=state,
        cwd=tmp_path,
    )
    wait_for(lambda: any(r["record"] == "measurement" for r in records(tmp_path)), "first measurement", run)
    time.sleep(1.0)  # into the search that follows
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 130, out + err
    (folder,) = (tmp_path / "results").iterdir()
    kept = json.loads((folder / "results.json").read_text())
    assert kept["end"]["state"] == "interrupted"
    assert [m["kind"] for m in kept["measurements"]] == ["mrr"]
    assert (folder / "report.html").is_file()
    assert before.difference(snapshot.take(mark=mark)) == []


@pytest.mark.parametrize("engine", ["socket", "af_xdp"])
def test_a_program_that_dies_in_a_trial_ends_it_with_its_name(
    engine: str, mark: str, state: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    """The DUT's echo is the socket engine, the tester on veth the af_xdp engine."""
    before = snapshot.take(mark=mark)
    trial = start(
        started,
        "trial",
        "--topology",
        "veth",
        "--load",
        "20 kpps",
        "--duration",
        "3 s",
        mark=mark,
        state=state,
        cwd=tmp_path,
    )
    wait_for(lambda: len(probes(mark)) == 2, "tester and DUT", trial)
    time.sleep(0.7)
    os.kill(probes(mark)[engine], signal.SIGKILL)
    out, err = trial.communicate(timeout=30)
    assert trial.returncode == 4, out + err
    assert f"labkit-probe-{engine}) was killed by SIGKILL" in err
    assert "Traceback" not in err
    assert before.difference(snapshot.take(mark=mark)) == []


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.long)])
def test_kill_9_at_any_moment_of_a_run_leaves_nothing_after_down(
    kills: int, mark: str, state: Path, tmp_path: Path
) -> None:
    chance = random.Random(f"{kills}")
    first_record_s = 0.0  # the machine's own time until there is something to lose
    for _ in range(kills):
        before = snapshot.take(mark=mark)  # anew each time: other users of the machine mount and unmount too
        run = subprocess.Popen(
            [*LABKIT, "run", "--quick", "-m", "throughput and (kernel or dpdk)"],
            cwd=tmp_path,
            env=environment(mark, state),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        began = time.monotonic()
        if first_record_s:
            time.sleep(chance.uniform(0.02, 1.5) * first_record_s)
        else:
            while not any(path.stat().st_size for path in tmp_path.glob("results/*/records.jsonl")):
                assert run.poll() is None
                assert time.monotonic() - began < 60
                time.sleep(0.05)
            first_record_s = time.monotonic() - began
        run.kill()
        run.wait()
        done = labkit("down", mark=mark, state=state, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        deadline = time.monotonic() + 5
        while (left := before.difference(snapshot.take(mark=mark))) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []
    for folder in (tmp_path / "results").iterdir():
        if not (folder / "records.jsonl").stat().st_size:
            continue  # killed before its first record: no run yet
        done = labkit("report", str(folder), mark=mark, state=state, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_an_interface_in_use_is_named_as_that(mark: str, state: Path, tmp_path: Path) -> None:
    try:
        assert labkit("up", mark=mark, state=state, cwd=tmp_path).returncode == 0
        status = json.loads(labkit("status", "--json", mark=mark, state=state, cwd=tmp_path).stdout)
        enter = status[0]["enter"]["dut"][:-1]
        holder = subprocess.Popen(
            [*enter, str(build.engine_path("xdp"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(mark, state),
        )
        try:
            assert holder.stdin is not None
            assert holder.stdout is not None
            command = {"id": 1, "cmd": "open", "core": None, "ports": [{"interface": "dut0"}], "options": {}}
            holder.stdin.write(json.dumps(command) + "\n")
            holder.stdin.flush()
            assert json.loads(holder.stdout.readline())["ok"]
            done = labkit("trial", "--backend", "af_xdp", mark=mark, state=state, cwd=tmp_path)
        finally:
            holder.kill()
            holder.communicate()
        assert done.returncode == 3, done.stdout + done.stderr
        assert "dut0" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        labkit("down", mark=mark, state=state, cwd=tmp_path)


def test_a_full_disk_is_an_error_that_says_so_and_keeps_what_was_finished(
    mark: str, state: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4180k", "none", str(small)], check=True)
    try:
        done = labkit(
            "run",
            "--topology",
            "sim",
            "--results",
            str(small / "results"),
            mark=mark,
            state=state,
            cwd=tmp_path,
        )
        assert done.returncode != 0
        output = done.stdout + done.stderr
        assert "No space left on device" in output, output
        assert "Traceback" not in output
        (folder,) = (small / "results").iterdir()
        shown = labkit("report", "--json", str(folder), mark=mark, state=state, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        kernel = next(row for row in json.loads(shown.stdout) if row["backend"] == "kernel")
        assert kernel["pdr_pps"] > 300e3
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("backend", "lab"), [("dpdk", "memif"), ("dpdk", "vhost"), ("kernel", "veth"), ("af_packet", "veth")]
)
def test_a_trial_runs_as_an_ordinary_user(backend: str, lab: str, tmp_path: Path) -> None:
    """No root, no hugepages, no NIC: in a user namespace of its own."""
    try:
        probe = build.engine_path("dpdk" if backend == "dpdk" else "af_packet").parents[1]
    except EnvironmentBroken as error:
        pytest.skip(str(error))
    done = unprivileged.run(
        [
            *("-m", "labkit.cli", "trial", "--topology", lab, "--backend", backend, "--load", "10 kpps"),
            *("--duration", "0.2 s", "--json"),
        ],
        probe=probe,
        home=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["proof"]["proven"], answer["proof"]
    assert answer["trial"]["received"] > 0
