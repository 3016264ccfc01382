"""Which cores tester, DUT and controller get."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from labkit.cores import affinity, choose, parse_list, pinned_here
from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.topology import load

FREE = load("veth")


def test_with_two_cores_the_controller_shares_the_testers() -> None:
    cores = choose(FREE, [0, 1])
    assert (cores.tester, cores.dut, cores.controller, cores.shared) == (0, 1, (0,), (0,))


def test_with_more_cores_nothing_is_shared_and_core_0_is_left_to_the_controller() -> None:
    cores = choose(FREE, [0, 1, 2, 3])
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


def test_reads_the_kernels_lists() -> None:
    assert parse_list("0-2,5\n") == {0, 1, 2, 5}
    assert parse_list("\n") == set()


def test_pins_this_process_and_lets_go() -> None:
    before = affinity(os.getpid())
    core = min(os.sched_getaffinity(0))
    with pinned_here([core]):
        assert set(map(frozenset, affinity(os.getpid()).values())) == {frozenset({core})}
    assert affinity(os.getpid())[os.getpid()] == before[os.getpid()]
