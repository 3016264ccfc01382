"""Which cores tester, DUT and controller get."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab.cores import check, choose
from labkit.lab.topology_file import load
from labkit.machine import cores as machine_cores
from labkit.machine.cores import affinity, parse_list, pinned_here, reachable

LISTS = json.loads((Path(__file__).parent / "data/core_lists.json").read_text())

FREE = load("veth")


@pytest.fixture(autouse=True)
def one_thread_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine this is."""
    monkeypatch.setattr(machine_cores, "siblings", lambda core: {core})


def test_with_two_cores_the_controller_shares_the_testers() -> None:
    cores = choose(FREE, [0, 1], apart=())
    assert (cores.tester, cores.dut, cores.controller, cores.shared) == (0, 1, (0,), (0,))


def test_with_more_cores_nothing_is_shared_and_core_0_is_left_to_the_controller() -> None:
    cores = choose(FREE, [0, 1, 2, 3], apart=())
    assert 0 in cores.controller
    assert cores.shared == ()
    assert len({cores.tester, cores.dut, *cores.controller}) == 4


def test_explicit_cores_are_taken() -> None:
    cores = choose(replace(FREE, tester_core=1, dut_core=0), [0, 1, 2])
    assert (cores.tester, cores.dut, cores.controller) == (1, 0, (2,))


def test_a_core_that_does_not_exist_is_refused_naming_those_that_do() -> None:
    with pytest.raises(ConfigInvalid, match=r"cores\.dut: core 7 is not available[^$]*available: 0, 1"):
        choose(replace(FREE, dut_core=7), [0, 1])


def test_one_core_for_both_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="both on core 1"):
        choose(replace(FREE, tester_core=1, dut_core=1), [0, 1])
    with pytest.raises(EnvironmentBroken, match="a core each"):
        choose(FREE, [3])


def test_isolated_cores_are_for_tester_and_dut_and_not_for_the_controller() -> None:
    cores = choose(FREE, range(8), apart={1, 2, 3})
    assert {cores.tester, cores.dut} == {2, 3}
    assert cores.controller == (0, 4, 5, 6, 7)


def test_one_isolated_core_is_the_duts() -> None:
    cores = choose(FREE, range(4), apart={1})
    assert (cores.tester, cores.dut, cores.controller) == (3, 1, (0, 2))


def test_two_cores_one_of_them_isolated_carry_a_lab() -> None:
    cores = choose(FREE, [0, 1], apart={1})
    assert (cores.tester, cores.dut, cores.controller, cores.shared) == (0, 1, (0,), (0,))


def test_explicit_cores_are_taken_before_isolated_ones() -> None:
    cores = choose(replace(FREE, tester_core=0, dut_core=1), range(4), apart={2, 3})
    assert (cores.tester, cores.dut, cores.controller) == (0, 1, (2, 3))
    assert choose(replace(FREE, tester_core=0), range(4), apart={2}).dut == 2


def test_a_physical_core_is_not_shared_for_the_sake_of_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_cores, "siblings", lambda core: {core % 4, core % 4 + 4})
    cores = choose(FREE, range(8), apart={3, 7})
    assert (cores.tester, cores.dut) == (6, 7)


@pytest.fixture
def housekeeping(monkeypatch: pytest.MonkeyPatch):
    """This process as the kernel starts it where the highest of its cores is isolated: {its own}, isolated one."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one core")
    apart = max(before)
    monkeypatch.setattr(machine_cores, "isolated", lambda: {apart})
    os.sched_setaffinity(0, before - {apart})
    yield before - {apart}, apart
    os.sched_setaffinity(0, before)


def test_isolated_core_is_available_although_the_own_mask_leaves_it_out(housekeeping) -> None:
    own, apart = housekeeping
    assert reachable() == own | {apart}
    assert os.sched_getaffinity(0) == own
    assert check(replace(FREE, dut_core=apart)) == sorted(own | {apart})
    cores = choose(FREE)
    assert cores.dut == apart
    assert apart not in cores.controller
    with pinned_here([cores.dut]):
        assert os.sched_getaffinity(0) == {apart}


def test_mask_with_an_isolated_core_is_taken_as_it_is(housekeeping) -> None:
    _, apart = housekeeping
    os.sched_setaffinity(0, {apart})
    assert reachable() == {apart}


def test_isolated_core_that_is_not_ours_is_not_available(housekeeping, monkeypatch) -> None:
    own, _ = housekeeping
    monkeypatch.setattr(machine_cores, "isolated", lambda: {4095})
    assert reachable() == own


def test_reads_the_kernels_lists() -> None:
    assert parse_list("0-2,5\n") == {0, 1, 2, 5}
    assert parse_list("\n") == set()


@pytest.mark.parametrize(("text", "last", "cores"), LISTS["read"])
def test_list_is_read_as_the_kernel_reads_it(text: str, last: int, cores: list[int]) -> None:
    assert sorted(parse_list(text, last)) == cores


@pytest.mark.parametrize(("text", "last"), [*LISTS["refused"], *((text, None) for text in LISTS["unknown"])])
def test_list_that_the_kernel_refuses_is_none(text: str, last: int | None) -> None:
    with pytest.raises(ValueError, match="cores: "):
        parse_list(text, last)


def test_list_without_a_known_last_core_ends_where_no_kernel_has_one() -> None:
    assert parse_list("0065536") == {65536}
    for text in ("65537", "0-4294967295", "9" * 5000):
        with pytest.raises(ValueError, match="cores: the kernel refuses"):
            parse_list(text)


def test_pins_this_process_and_lets_go() -> None:
    before = affinity(os.getpid())
    core = min(os.sched_getaffinity(0))
    with pinned_here([core]):
        assert set(map(frozenset, affinity(os.getpid()).values())) == {frozenset({core})}
    assert affinity(os.getpid())[os.getpid()] == before[os.getpid()]
