"""Labs that share no machine, measured at once: each by a worker of pytest-xdist, and stored as one run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ssh_host import cable, controller, host, kill, lab_on_nics, prepare, ssh_config

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(
        shutil.which("dropbear", path="/usr/sbin:/usr/bin:/sbin:/bin") is None,
        reason="no SSH server to reach a namespace by: apt-get install dropbear-bin",
    ),
]
RUN_S = 400.0
HOSTS = ("a1", "a2", "b1", "b2")
TESTS = """
import pytest

pytestmark = pytest.mark.kernel

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.on(topology="a.yml")
def test_a(measure, number):
    measure.mrr()
    measure.latency(load="1 kpps")

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.on(topology="b.yml")
def test_b(measure, number):
    measure.mrr()
    measure.latency(load="1 kpps")
"""
HOLDER = """
import time
from labkit.machine.lock import measuring

with measuring(wait_s=0):
    print("held", flush=True)
    time.sleep(300)
"""


class Pairs:
    """Labkit runs on a controller, and reaches two pairs of hosts by SSH; each pair has a cable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        prepare(folder)
        self.hosts = {name: host(folder) for name in HOSTS}
        entries = [ssh_config(place, name, f"{name}-again") for name, place in self.hosts.items()]
        (folder / "config").write_text("".join(entries))
        self.controller = controller(folder)
        for lab in "ab":
            cable(self.hosts[f"{lab}1"], self.hosts[f"{lab}2"])
            self.write_lab(lab, tester=f"{lab}1", dut=f"{lab}2")
        (folder / "test_both.py").write_text(TESTS)
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")

    def write_lab(self, lab: str, **hosts: str) -> None:
        (self.folder / f"{lab}.yml").write_text(json.dumps(lab_on_nics(**hosts)))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        options = ("-n2", "-v", "--labkit-quick", "--labkit-allow-invalid", "--labkit-retry=0")
        inside = f'cd "$0" && exec {sys.executable} -m pytest test_both.py "$@"'
        command = [*self.controller.enter, "sh", "-c", inside, str(self.folder), *options, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments: str) -> tuple[int, str]:
        with self.start(*arguments) as process:
            printed, _ = process.communicate(timeout=RUN_S)
        return process.returncode, printed

    def results(self, name: str = "results.json") -> Any:
        (folder,) = (self.folder / "results").iterdir()
        text = (folder / name).read_text()
        return json.loads(text) if name.endswith(".json") else text

    def end(self) -> None:
        for place in (self.controller, *self.hosts.values()):
            place.end()


@pytest.fixture
def pairs(tmp_path: Path) -> Iterator[Pairs]:
    found = Pairs(tmp_path)
    try:
        yield found
    finally:
        found.end()


def times(results: Any, lab: str) -> tuple[datetime, datetime]:
    """When the first measurement of a lab began, and when its last ended."""
    measured = [m for m in results["measurements"] if m["key"]["topology"] == lab]
    began = [datetime.fromisoformat(m["started"]) for m in measured]
    ended = [begin + timedelta(seconds=m["duration_s"]) for begin, m in zip(began, measured, strict=True)]
    return min(began), max(ended)


def test_two_labs_that_share_no_host_are_measured_at_once_and_stored_as_one_run(pairs: Pairs) -> None:
    before = {name: place.state() for name, place in pairs.hosts.items()}
    code, printed = pairs.run()
    assert code == 0, printed
    results = pairs.results()
    rows = sorted((m["key"]["topology"], m["kind"]) for m in results["measurements"])
    assert rows == [(lab, kind) for lab in "ab" for kind in ("latency", "mrr")]  # once each
    a, b = times(results, "a"), times(results, "b")
    assert max(a[0], b[0]) < min(a[1], b[1]), (a, b)
    worker = dict(re.findall(r"\[(gw\d)\].* test_both.py::test_([ab])\[", printed))
    assert sorted(worker.values()) == ["a", "b"], printed  # each lab by a worker of its own
    assert sorted(results["environment"]["hosts"]) == list(HOSTS)
    assert [one["name"] for one in sorted(results["environment"]["topologies"], key=str)] == ["a", "b"]
    assert printed.count("\ntests:") == 1
    assert {name: place.state() for name, place in pairs.hosts.items()} == before
    assert not any(place.processes() for place in (pairs.controller, *pairs.hosts.values()))


@pytest.mark.long
def test_two_names_of_one_host_are_not_taken_for_two(pairs: Pairs) -> None:
    """Both labs are on a1 and a2, by other names: one worker measures them, one after the other."""
    pairs.write_lab("b", tester="a1-again", dut="a2-again")
    code, printed = pairs.run()
    assert code == 0, printed
    worker = re.findall(r"\[(gw\d)\].* test_both.py::test_[ab]\[", printed)
    assert len(worker) == 4
    assert len(set(worker)) == 1
    a, b = times(pairs.results(), "a"), times(pairs.results(), "b")
    assert a[1] <= b[0] or b[1] <= a[0], (a, b)


def test_the_controller_may_be_in_use_where_no_lab_is_on_it_and_a_host_in_use_is_named(pairs: Pairs) -> None:
    holders = []
    try:
        for place in (pairs.controller, pairs.hosts["b2"]):
            holders.append(
                subprocess.Popen(
                    [*place.enter, sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True
                )
            )
            assert holders[-1].stdout is not None
            assert holders[-1].stdout.readline() == "held\n"
        code, printed = pairs.run("--labkit-wait=0")
    finally:
        for holder in holders:
            kill(holder)
            assert holder.stdout is not None
            holder.stdout.close()
    assert code == 1, printed
    assert {m["key"]["topology"] for m in pairs.results()["measurements"]} == {"a"}
    assert "labkit's agent on b2, reserve: another measurement runs on this machine (pid" in printed


HERE = """
import pytest

pytestmark = pytest.mark.af_packet

@pytest.mark.on(topology="a.yml")
def test_elsewhere(measure):
    measure.mrr()

@pytest.mark.on(topology="veth")
def test_here(measure):
    measure.mrr()

@pytest.mark.on(topology="near.yml")
def test_here_too(measure):
    measure.mrr()

def test_plain():
    pass
"""


def test_what_takes_the_controllers_own_cores_is_one_after_the_other(pairs: Pairs) -> None:
    near = (Path(__file__).parents[2] / "topologies" / "veth.yml").read_text()
    (pairs.folder / "near.yml").write_text(
        "".join(line for line in near.splitlines(keepends=True) if "targets" not in line)
    )
    (pairs.folder / "test_both.py").write_text(HERE)
    code, printed = pairs.run()
    assert code == 0, printed
    found = re.findall(r"\[(gw\d)\].* test_both.py::test_(\w+)", printed)
    workers = {test: worker for worker, test in found}
    assert len(found) == 4, printed
    assert workers["here"] == workers["here_too"] == workers["plain"] != workers["elsewhere"]
    with subprocess.Popen(
        [*pairs.controller.enter, sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        code, printed = pairs.run("--labkit-wait=0", "--labkit-results=refused")
        kill(holder)
    assert code == 3, printed
    assert f"another measurement runs on this machine (pid {holder.pid}" in printed
    assert not (pairs.folder / "refused").exists()


@pytest.mark.parametrize("who", ["controller", pytest.param("worker", marks=pytest.mark.long)])
def test_a_kill_loses_no_finished_result_and_the_hosts_revert(pairs: Pairs, who: str) -> None:
    before = {name: place.state() for name, place in pairs.hosts.items()}
    with pairs.start() as process:
        deadline = time.monotonic() + RUN_S
        while not stored(pairs):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        if who == "controller":
            pid = pids(pairs, "-m pytest")[0]
        else:
            pid = pids(pairs, "import sys;exec(eval(sys.stdin.readline()))")[0]
        kept = stored(pairs)
        os.kill(pid, signal.SIGKILL)
        printed, _ = process.communicate(timeout=RUN_S)
    deadline = time.monotonic() + 60
    while any(place.processes() for place in (pairs.controller, *pairs.hosts.values())):
        assert time.monotonic() < deadline, pairs.controller.processes()
        time.sleep(0.1)
    assert {name: place.state() for name, place in pairs.hosts.items()} == before
    assert kept <= stored(pairs)
    if who == "worker":
        assert process.returncode == 1
        assert "crashed while running" in printed
        results = pairs.results()
        rows = sorted((m["key"]["topology"], m["kind"]) for m in results["measurements"])
        assert rows == [(lab, kind) for lab in "ab" for kind in ("latency", "mrr")], printed
        assert [v["reason"] for v in results["verdicts"] if "crashed while running" in v["reason"]]


def stored(pairs: Pairs) -> set[tuple[str, str]]:
    """Lab and kind of the measurements on the disk."""
    if not list((pairs.folder / "results").glob("*/records.jsonl")):
        return set()
    lines = pairs.results("records.jsonl").splitlines(keepends=True)
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    measured = [one["value"] for one in records if one["record"] == "measurement"]
    return {(m["key"]["topology"], m["kind"]) for m in measured}


def pids(pairs: Pairs, words: str) -> list[int]:
    return [pid for pid, line in pairs.controller.processes().items() if words in line]
