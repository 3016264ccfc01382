"""Lists of cores: read, printed, and refused with the way out."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import cpus
from hypothesis import given
from hypothesis import strategies as st

CORES = st.sets(st.integers(0, 300))


@pytest.mark.parametrize(
    ("text", "cores"),
    [("", []), ("\n", []), ("3", [3]), ("1-3,5\n", [1, 2, 3, 5]), ("5,1-2, 2", [1, 2, 5]), ("0-0", [0])],
)
def test_list_is_read_as_the_kernel_reads_it(text, cores):
    assert sorted(cpus.parse(text)) == cores


@pytest.mark.parametrize(
    "text", ["a", "1-", "-1", "1,,2", "1-2-3", "1;2", "0x3", "3-1", "1.5", "all", "1-N", "²"]
)
def test_list_that_is_none_is_refused_with_the_form_that_is_expected(text):
    with pytest.raises(ValueError, match=r"expected core numbers and ranges .* \"1-3,5\""):
        cpus.parse(text)


REFUSED = "refused"
KERNELS, IRQBALANCES = (cpus.KERNEL, 7), (cpus.IRQBALANCE, None)


@pytest.mark.parametrize(
    ("text", "inventory", "kernel", "irqbalance"),
    [
        ("1-3,5", {1, 2, 3, 5}, {1, 2, 3, 5}, {1, 2, 3, 5}),
        ("1, 3", {1, 3}, {1, 3}, REFUSED),  # irqbalance takes no blank after the first digit
        ("1 3", REFUSED, {1, 3}, REFUSED),  # which the kernel takes for a comma
        (" 1 ", {1}, {1}, {1}),
        ("1,,2", REFUSED, {1, 2}, {0, 1, 2}),
        ("1,", REFUSED, {1}, {1}),
        (" ", set(), set(), {0}),
        ("0-", REFUSED, REFUSED, {0}),
        ("3-1", REFUSED, REFUSED, REFUSED),
        ("4-N", REFUSED, {4, 5, 6, 7}, REFUSED),
        ("all", REFUSED, set(range(8)), REFUSED),
        ("0-7:1/4", REFUSED, {0, 4}, REFUSED),
        ("0-8", set(range(9)), REFUSED, set(range(9))),  # with 7 the last that the kernel may have
        ("000001", REFUSED, {1}, {1}),
        ("4096", {4096}, REFUSED, REFUSED),
        ("0" * 5000 + "1", REFUSED, {1}, {1}),
        ("9" * 5000, REFUSED, REFUSED, REFUSED),
        ("1\u20033", REFUSED, REFUSED, REFUSED),
    ],
)
def test_programs_differ_in_the_lists_that_they_take(text, inventory, kernel, irqbalance):
    def read(*how):
        try:
            return cpus.parse(text, *how)
        except ValueError:
            return REFUSED

    assert (read(), read(*KERNELS), read(*IRQBALANCES)) == (inventory, kernel, irqbalance)


def test_scan_has_the_cores_before_the_part_that_is_wrong():
    assert cpus.scan("1,2,x,4", cpus.IRQBALANCE) == ({1, 2}, "'x' is no core or range")


@given(CORES)
def test_printed_list_and_mask_read_back_the_same(cores):
    assert cpus.parse(cpus.listed(cores)) == cores
    assert cpus.from_mask(cpus.mask(cores)) == cores


@pytest.mark.parametrize(
    ("cores", "listed", "mask"),
    [
        ({1, 2, 3, 5}, "1-3,5", "2e"),
        ({0}, "0", "1"),
        (set(), "", "0"),
        ({31}, "31", "80000000"),
        ({0, 33}, "0,33", "00000002,00000001"),
    ],
)
def test_lists_and_masks_are_spelt_as_the_kernel_spells_them(cores, listed, mask):
    assert (cpus.listed(cores), cpus.mask(cores)) == (listed, mask)


def test_rest_is_what_the_host_has_besides():
    assert cpus.rest("1-3,5", "0-7") == "0,4,6-7"
    assert cpus.rest("", "0-1") == "0-1"


@given(st.sets(st.integers(1, 63)))
def test_isolated_cores_and_the_rest_are_the_host(isolated):
    present = "0-63"

    left = cpus.parse(cpus.rest(cpus.listed(isolated), present))

    assert left | isolated == cpus.parse(present)
    assert not left & isolated
    assert cpus.problems(cpus.listed(isolated), present) == []


@pytest.mark.parametrize(
    ("isolated", "present", "expected"),
    [
        ("2-4", "0-3", ["there is no core 4: this host has 0-3. Isolate some of those"]),
        ("0-3", "0-3", ["all cores of this host (0-3) would be isolated: leave at least core 0"]),
        ("0", "0", ["all cores of this host (0) would be isolated"]),
        ("0-1", "0-3", ["core 0 can't be isolated"]),
        ("0-7", "0-3", ["there is no core 4-7", "all cores of this host"]),
        ("one", "0-3", ["'one' is no core or range, expected core numbers"]),
    ],
)
def test_cores_that_can_not_be_isolated_are_refused(isolated, present, expected):
    found = cpus.problems(isolated, present)

    assert len(found) == len(expected)
    for problem, start in zip(found, expected, strict=True):
        assert start in problem


def test_none_isolated_is_right_on_every_host():
    assert cpus.problems("", "0") == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"rt_runtime_us": "0"}, "expected 1 to 1000000, or -1 for no limit"),
        ({"rt_runtime_us": "1000001"}, "expected 1 to 1000000, or -1 for no limit"),
        ({"rt_runtime_us": "lots"}, "expected 1 to 1000000, or -1 for no limit"),
        ({"max_cstate": "C1"}, "expected a number from 0 to 9"),
        ({"max_cstate": "10"}, "expected a number from 0 to 9"),
    ],
)
def test_figures_that_no_kernel_takes_are_refused(more, expected):
    [problem] = cpus.problems("1", "0-1", **more)

    assert expected in problem


def test_figures_that_kernels_take_are_right():
    assert cpus.problems("1", "0-1", rt_runtime_us="-1", max_cstate="0") == []
