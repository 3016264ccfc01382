"""Runs that are killed keep what was finished, and leave nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from sample_run import sample_run

from labkit.record.store import RunStore, latest, load

RUN = sample_run()


def create(root: Path) -> RunStore:
    return RunStore.create(root, command=["labkit", "run"], quick=True, seed=7)


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


KILLED = """
import sys, time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sample_run import sample_run
from labkit.record.store import RunStore
run = sample_run()
store = RunStore.create(Path(sys.argv[1]), command=["labkit"], quick=True, seed=1)
i = 0
while True:
    store.add_measurement(run.measurements[i % len(run.measurements)])
    i += 1
    print(i, flush=True)
"""


def test_kill_9_loses_nothing_that_was_finished(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[1] / "unit")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.03)
    child.send_signal(signal.SIGKILL)
    said = child.stdout.read().split("\n")
    child.wait()
    finished = int(said[-2]) if len(said) > 1 else 1
    back = load(latest(tmp_path))
    assert back.state == "interrupted"
    assert finished <= len(back.measurements) <= finished + 1
    assert back.measurements[0] == RUN.measurements[0]


def test_a_run_that_is_killed_leaves_its_records_and_no_file_that_holds_back_room(tmp_path):
    code = "import os, signal, sys; from pathlib import Path; from labkit.record.store import RunStore\n"
    code += "RunStore.create(Path(sys.argv[1]), command=['labkit'], quick=True, seed=7)\n"
    code += "os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    assert files(folder) == {"records.jsonl"}


def finished(tmp_path: Path) -> Path:
    with create(tmp_path) as store:
        store.add_verdict(RUN.verdicts[0])
    return store.folder / "results.json"
