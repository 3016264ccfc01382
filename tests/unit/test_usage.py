"""Who else uses the processors, from two snapshots."""

from __future__ import annotations

import os

from labkit.machine.usage import TICKS_PER_S, Process, UsageSnapshot, compare, snapshot

OWN = 100


def at(second: float, steal: dict[int, tuple[int, int]], *processes: tuple[int, Process]) -> UsageSnapshot:
    return UsageSnapshot(second, steal, dict(processes))


def process(name: str, cores_for_2_s: float = 0.0, *, parent: int = 1, start: int = 5) -> Process:
    return Process(name, parent, start, 1000 + round(cores_for_2_s * 2 * TICKS_PER_S))


def test_programs_are_named_by_what_they_use_together() -> None:
    before = at(0, {}, *((pid, process("yes")) for pid in (7, 8)), (9, process("idle")))
    after = at(2, {}, (7, process("yes", 0.9)), (8, process("yes", 1.0)), (9, process("idle", 0.001)))
    found = compare(before, after, own=OWN)
    assert found.busy
    assert found.describe() == "other programs use 1.9 cores: yes (pid 8 and 1 more) 1.9"


def test_what_labkit_itself_starts_is_no_other_program() -> None:
    after = at(
        2,
        {},
        (OWN, process("labkit", 1)),
        (101, process("probe", 1, parent=OWN)),
        (102, process("helper", 1, parent=101)),
    )
    assert not compare(at(0, {}, (OWN, process("labkit"))), after, own=OWN).busy


def test_a_program_that_began_meanwhile_counts_with_all_that_it_used() -> None:
    after = at(2, {}, (7, Process("cc1", 1, 50, 2 * TICKS_PER_S)))
    assert compare(at(0, {}), after, own=OWN).others_cores == 1.0


def test_a_recycled_pid_is_another_program() -> None:
    before = at(0, {}, (7, Process("old", 1, 5, 90_000)))
    after = at(2, {}, (7, Process("new", 1, 60, TICKS_PER_S)))
    assert compare(before, after, own=OWN).programs == (("new", 1, 7, 0.5),)


def test_steal_is_that_of_the_worst_cpu() -> None:
    found = compare(at(0, {0: (5, 1000), 1: (5, 1000)}), at(2, {0: (5, 1200), 1: (45, 1200)}), own=OWN)
    assert found.busy
    assert found.describe() == "the hypervisor takes 20% of CPU 1 (steal)"


def test_a_quiet_machine_is_not_busy() -> None:
    before = at(0, {0: (5, 1000)}, (7, process("sshd")))
    found = compare(before, at(2, {0: (6, 1200)}, (7, process("sshd", 0.03))), own=OWN)
    assert not found.busy
    assert found.describe() == "nothing else uses the processors"


def test_names_with_blanks_and_brackets_are_read() -> None:
    assert os.getpid() in snapshot().processes
    assert all(p.used_ticks >= 0 for p in snapshot().processes.values())
