"""Which labs share a machine, and which worker gets their tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.harness.ending import take
from labkit.harness.scheduling import ByUnit, Undecided, WorkerNode
from labkit.harness.selected import Selection
from labkit.harness.spelling import KEY
from labkit.harness.workers import Worker as RealWorker
from labkit.lab.groups import groups
from labkit.lab.topology import HERE
from labkit.lab.topology_file import load, parse
from labkit.progress import Silent
from labkit.session.session import Session
from labkit.session.settings import Settings

SIMULATED: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        ({"a": ["a1", "a2"], "b": ["b1", "b2"]}, ["a", "b"]),
        ({"a": [HERE], "b": [HERE]}, ["ab"]),
        ({"a": [HERE, "alpha"], "b": [HERE, "beta"]}, ["ab"]),
        ({"a": ["a1", "hub"], "b": ["hub", "b2"], "c": ["c1", "c2"]}, ["ab", "c"]),
        ({"a": ["1", "2"], "b": ["3", "4"], "c": ["2", "3"]}, ["abc"]),
        ({"a": ["1", "2"], "b": ["2", "3"], "c": ["1", "4"]}, ["abc"]),
        ({"a": [HERE], "b": ["b1", "b2"]}, ["a", "b"]),
        ({"s": SIMULATED, "t": SIMULATED}, ["s", "t"]),
        ({"s": SIMULATED, "b": ["b1"]}, ["s", "b"]),
        ({"s": SIMULATED, "a": [HERE], "b": ["b1"]}, ["as", "b"]),
        ({}, []),
    ],
)
def test_labs_that_share_a_machine_are_one_group(machines: dict, expected: list[str]) -> None:
    found = groups(machines)
    assert sorted("".join(sorted(labs)) for labs in found) == sorted(expected)


TWO = """
description: two hosts
backends: [kernel]
hosts: {tester: HOST, dut: beta}
links:
  - name: a
    kind: nic
    tester: {interface: nic0, ipv4: 198.18.0.1/24}
    dut: {interface: nic0, ipv4: 198.18.0.2/24}
"""


def test_the_machines_of_a_lab_are_its_hosts_and_a_simulated_one_has_none() -> None:
    labs = [
        load("veth"),
        load("sim"),
        parse(TWO.replace("HOST", "alpha"), Path("far.yml")),
        parse(TWO.replace("HOST", "here"), Path("near.yml")),
    ]
    session = Session(Settings(store=False), progress=Silent())
    machines = session.machines_of(labs)
    assert machines == {"veth": {HERE}, "sim": set(), "far": {"alpha", "beta"}, "near": {HERE, "beta"}}
    assert [session.on_this_machine(lab) for lab in labs] == [True, False, False, True]
    assert groups(machines) == [{"veth", "sim", "far", "near"}]
    assert groups({lab: machines[lab] for lab in ("sim", "far")}) == [{"sim"}, {"far"}]


class Worker:
    """A worker that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        self.told += indices

    def shutdown(self) -> None:
        self.shutting_down = True


TESTS = ["a1", "a2", "a3", "b1", "b2", "c1"]


def scheduler(*units: list[str], workers: int) -> tuple[ByUnit, list[Worker]]:
    nodes = [Worker() for _ in range(workers)]
    made = ByUnit(units, dict.fromkeys(nodes, TESTS))
    made.schedule()
    return made, nodes


def complete(made: ByUnit, node: Worker, *tests: str) -> None:
    for test in tests:
        made.mark_test_complete(node, TESTS.index(test))


def test_a_unit_is_run_by_one_worker_and_one_that_is_left_over_ends() -> None:
    made, (first, second, third) = scheduler(["a1", "a2", "a3"], ["b1", "b2"], workers=3)
    assert (first.told, second.told, third.told) == ([0, 1, 2], [3, 4], [])
    assert [node.shutting_down for node in (first, second, third)] == [False, False, True]
    complete(made, first, "a1", "a2")
    assert not made.tests_finished
    assert first.shutting_down  # it waits for that before its last test
    complete(made, second, "b1")
    assert made.tests_finished
    assert made.has_pending


def test_who_comes_to_its_last_test_gets_the_next_unit_whole() -> None:
    made, (first, second) = scheduler(["a1", "a2", "a3"], ["b1", "b2"], ["c1"], workers=2)
    complete(made, second, "b1")
    assert second.told == [3, 4, 5]
    complete(made, first, "a1", "a2")
    assert first.told == [0, 1, 2]
    assert first.shutting_down


def test_what_a_killed_worker_had_still_to_run_goes_to_the_one_in_its_place_without_the_test_it_was_at() -> (
    None
):
    made, (first, second) = scheduler(["a1", "a2", "a3"], ["b1", "b2"], workers=2)
    complete(made, first, "a1")
    complete(made, second, "b1")  # and ends: nothing was left to hand out
    assert made.remove_node(first) == "a2"
    complete(made, second, "b2")
    assert made.remove_node(second) is None
    assert not made.tests_finished
    instead = Worker()
    made.add_node(instead)
    made.add_node_collection(instead, TESTS)
    made.schedule()
    assert instead.told == [2]
    assert instead.shutting_down
    assert made.tests_finished


def test_what_a_killed_worker_leaves_goes_to_a_living_one_that_comes_to_its_last_test() -> None:
    made, (first, second) = scheduler(["a1", "a2", "a3"], ["b1", "b2"], workers=2)
    assert made.remove_node(first) == "a1"
    complete(made, second, "b1")
    assert second.told == [3, 4, 1, 2]


def test_a_worker_that_collects_other_tests_than_the_one_before_it_gets_none() -> None:
    made, (first,) = scheduler(["a1", "a2", "a3"], workers=1)
    made.remove_node(first)
    other = Worker()
    made.add_node(other)
    made.add_node_collection(other, TESTS[1:])
    made.schedule()
    assert other.shutting_down
    assert other.told == []


class Chosen:
    """A scheduler of pytest-xdist's."""

    name = "load"

    def __init__(self) -> None:
        self.scheduled = 0

    def add_node_collection(self, node: WorkerNode, collection: Sequence[str]) -> None: ...

    def schedule(self) -> None:
        self.scheduled += 1


def test_the_scheduler_that_was_chosen_stays_unless_something_is_measured() -> None:
    chosen, node = Chosen(), Worker()
    asked = []
    plain = Undecided(chosen, lambda collections: asked.append(dict(collections)))
    plain.add_node_collection(node, TESTS)
    plain.schedule()
    plain.schedule()
    assert chosen.scheduled == 2
    assert asked == [{node: TESTS}]
    assert plain.name == "load"
    measured = Undecided(Chosen(), lambda collections: ByUnit([TESTS], collections))
    measured.add_node_collection(node, TESTS)
    measured.schedule()
    assert measured.nodes == [node]
    assert node.told == [0, 1, 2, 3, 4, 5]


def test_a_worker_on_another_machine_runs_nothing_and_is_refused(tmp_path: Path) -> None:
    given = {
        "run": "r",
        "controller_pid": 1,
        "seed": 1,
        "results": "r",
        "folder": str(tmp_path / "elsewhere"),
    }
    config: Any = SimpleNamespace(
        workerinput={KEY: given, "workerid": "gw0", "mainargv": ["pytest"]},
        workeroutput={},
        pluginmanager=None,
    )
    session: Any = SimpleNamespace(items=["a test that measures"])
    RealWorker(config).report(Selection(), session)
    assert session.items == []
    state: Any = None
    with pytest.raises(pytest.UsageError, match="workers on this machine only"):
        take(state, config.workeroutput[KEY])
