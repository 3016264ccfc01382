"""Runs that are killed keep what was finished, and leave nothing else."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from sample_run import sample_run

from labkit.record.store import RunStore, latest, load
from labkit.results import report

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
    printed = child.stdout.read().split("\n")
    child.wait()
    finished = int(printed[-2]) if len(printed) > 1 else 1
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


ENDS = """
import sys
from pathlib import Path
from labkit.machine import durable
from labkit.record.store import RunStore
sys.path.insert(0, sys.argv[2])
from sample_run import sample_run
from labkit.results import report
def write(path, data):  # the half of it, and then there is something else to do
    path.write_bytes(data[: len(data) // 2])
    print(path, flush=True)
    input()
    path.write_bytes(data)
durable.write_synced = write
with RunStore.create(Path(sys.argv[1]), command=["labkit"], quick=True, seed=1) as store:
    store.add_verdict(sample_run().verdicts[0])
report.render(store.run, store.folder)
"""


def test_the_next_run_removes_what_a_run_left_that_was_killed_at_its_end_and_nothing_of_one_that_lives(
    tmp_path,
):
    unit = str(Path(__file__).parents[1] / "unit")
    killed, lives = (
        subprocess.Popen(
            [sys.executable, "-c", ENDS, str(tmp_path), unit],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    )
    left, used = (Path(one.stdout.readline().strip()) for one in (killed, lives))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert files(left.parent) == {"records.jsonl", left.name}
    with create(tmp_path):
        pass
    assert files(left.parent) == {"records.jsonl"}
    assert load(left.parent).verdicts == RUN.verdicts[:1]
    assert used.is_file()
    lives.communicate("\n", timeout=30)
    assert lives.returncode == 0
    assert files(used.parent) == {"records.jsonl", "results.json", "report.html"}


RENDERS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sample_run import sample_run
from labkit.results import report
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
report.render(sample_run(), Path(sys.argv[1]))
"""


def test_the_next_report_removes_the_page_that_a_kill_left_half_written(tmp_path):
    unit = str(Path(__file__).parents[1] / "unit")
    done = subprocess.run([sys.executable, "-c", RENDERS, str(tmp_path), unit], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = files(tmp_path)
    assert left.startswith(".report.html.")
    report.render(RUN, tmp_path)
    assert files(tmp_path) == {"report.html"}


SHARED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sample_run import sample_run
from labkit.record.store import RunStore
run = sample_run()
store = RunStore.create(Path(sys.argv[1]), command=["labkit"], quick=True, seed=1, shared="one")
print("joined", flush=True)
sys.stdin.read()
for _ in range(15):
    store.add_measurement(run.measurements[0])
store.close()
"""


def test_several_processes_store_one_run_and_each_line_is_whole(tmp_path):
    argv = [sys.executable, "-c", SHARED, str(tmp_path), str(Path(__file__).parents[1] / "unit")]
    children = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.read(7) == "joined\n"
    with (tmp_path / "one" / "records.jsonl").open() as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)  # as one that is writing a line
        began = (tmp_path / "one" / "records.jsonl").read_text()
        for child in children:
            assert child.stdin is not None
            child.stdin.close()  # all at once
        time.sleep(1)
        assert (tmp_path / "one" / "records.jsonl").read_text() == began
    assert [child.wait() for child in children] == [0, 0, 0]
    for child in children:
        assert child.stdout is not None
        child.stdout.close()
    assert len(load(tmp_path / "one").measurements) == 45
    with RunStore.create(tmp_path, command=["labkit"], quick=True, seed=1, shared="one") as store:
        store.add_measurement(RUN.measurements[0])
    assert len(load(tmp_path / "one" / "results.json").measurements) == 46


def test_half_a_line_of_a_killed_process_is_cut_off_by_the_next_one_that_stores(tmp_path):
    def shared() -> RunStore:
        return RunStore.create(tmp_path, command=["labkit"], quick=True, seed=1, shared="one")

    first, other = shared(), shared()
    first.add_measurement(RUN.measurements[0])
    with (tmp_path / "one" / "records.jsonl").open("a") as records:
        records.write('{"record": "measurement", "val' + 100_000 * "x")
    other.add_measurement(RUN.measurements[1])
    first.add_verdict(RUN.verdicts[0])
    back = load(tmp_path / "one")
    assert [m.key for m in back.measurements] == [m.key for m in RUN.measurements[:2]]
    assert back.verdicts == RUN.verdicts[:1]
    other.close()
    first.close()


def test_what_several_processes_saw_of_the_environment_is_put_together():
    environment = RUN.environment
    assert environment is not None
    parts = [
        replace(
            environment,
            topologies=(replace(environment.topologies[0], name=name),),
            network=replace(environment.network, links={name: {}}),
            hosts={f"host of {name}": {}},
        )
        for name in "ab"
    ]
    both = replace(RUN, environment=None).with_environment(parts[0]).with_environment(parts[1]).environment
    assert both is not None
    assert [one.name for one in both.topologies] == ["a", "b"]
    assert set(both.network.links) == {"a", "b"}
    assert set(both.hosts) == {"host of a", "host of b"}
