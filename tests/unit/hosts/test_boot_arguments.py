"""Kernel arguments: what may be written, and what is in effect and not merely there."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils.boot_arguments import (
    blacklisted,
    disputed,
    faults,
    missing,
    not_isolated,
    replaced,
)

LINE = [
    "BOOT_IMAGE=/vmlinuz",
    "root=UUID=1",
    "ro",
    "quiet",
    "isolcpus=managed_irq,domain,1-3",
    "nohz_full=1-3",
]


@pytest.mark.parametrize(
    "argument", ["a b", 'a="b"', "a=$b", "a=`b`", "a;b", "", "a=\n", "memmap=4G$8G", "a\\b", "'a'", "--", "-"]
)
def test_argument_that_would_mean_something_else_is_refused(argument):
    assert len(faults(["isolcpus=1", argument])) == 1
    assert repr(argument) in faults([argument])[0]


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("vfio-pci.ids=8086:1521", "every NIC of a model"),
        ("vfio_pci.ids=8086:1521", "every NIC of a model"),
        ("net.ifnames=0", "rename interfaces"),
        ("biosdevname=0", "rename interfaces"),
        ("ifname=eth7:52:54:00:00:00:01", "rename interfaces"),
    ],
)
def test_argument_that_may_take_the_way_to_the_host_is_refused_by_name(argument, why):
    [fault] = faults(["quiet", argument])

    assert fault.startswith(f"kernel argument {argument}: ")
    assert why in fault


def test_modules_that_are_forbidden_are_reported_with_the_argument():
    both = "module_blacklist=nouveau,virtio-net"

    assert blacklisted(["quiet", both, "modprobe.blacklist=igb", "igb.blacklist=e1000e"]) == {
        "nouveau": both,
        "virtio_net": both,
        "igb": "modprobe.blacklist=igb",
    }


def test_ordinary_arguments_are_fine():
    assert (
        faults(["isolcpus=managed_irq,domain,1-3", "hugepagesz=1G", "nosoftlockup", "a.b-c_d=1:2/3@4+5%"])
        == []
    )


@pytest.mark.parametrize(
    ("arguments", "faulty"),
    [
        (["rcu_nocbs=all", "quiet", "rcu_nocbs=1-3"], True),
        (["rcu-nocbs=1", "rcu_nocbs=1-3"], True),
        (["preempt=full", "preempt=lazy"], True),
        (["isolcpus=managed_irq,domain,1-3", "isolcpus=2"], True),
        (["isolcpus=managed_irq,domain,1-3", "isolcpus=nohz,1-3", "nohz_full=1-3"], False),
        (["skew_tick=1", "skew_tick=1"], False),
        (["hugepagesz=1G", "hugepages=2", "hugepagesz=2M", "hugepages=64"], False),
        (["console=tty0", "console=ttyS0"], False),
    ],
)
def test_parameter_of_which_the_kernel_takes_one_is_refused_with_two_values(arguments, faulty):
    found = faults(arguments)

    assert len(found) == faulty
    assert not faulty or "the kernel takes one of them alone" in found[0]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ([], None),
        (["isolcpus=managed_irq,domain,1-3", "nohz_full=1-3"], None),
        (
            ["nohz_full=1-3", "isolcpus=managed_irq,domain,1-3"],
            "isolcpus=managed_irq,domain,1-3 is there, but not in",
        ),
        (["nohz_full=1"], "nohz_full=1 is not there"),
        (["nohz_full"], "nohz_full is not there"),
    ],
)
def test_arguments_are_in_effect_when_all_are_there_in_order(wanted, reason):
    found = missing(wanted, LINE)

    assert len(found) == (reason is not None)
    assert reason is None or found[0].startswith(reason)


@pytest.mark.parametrize("later", ["preempt=none", "preempt"])
def test_later_word_of_the_same_parameter_counts(later):
    assert missing(["preempt=full"], ["preempt=full", later]) == [
        f"preempt=full is there, but {later} comes later and counts"
    ]
    assert missing(["preempt=full"], ["preempt=none", "preempt=full"]) == []


def test_dash_and_underscore_are_one_to_the_kernel():
    assert missing(["nmi_watchdog=0"], ["nmi_watchdog=0", "nmi-watchdog=1"])


@pytest.mark.parametrize(
    ("theirs", "kept"),
    [
        ("isolcpus=1", True),
        ("isolcpus=domain,1", True),
        ("isolcpus=nohz,1-3", True),
        ("nohz_full=1,3", True),
        ("isolcpus=managed_irq,1-10:2/4", True),
        ("isolcpus=2", False),
        ("isolcpus=domain,managed_irq,2", False),
        ("nohz_full=2-2", False),
        ("rcu_nocbs=1", False),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_of_two_lists_of_cores_the_kernel_keeps_the_first(theirs, kept, place):
    ours = ["isolcpus=managed_irq,domain,2", "nohz_full=2"]
    present = [*ours[:place], theirs, *ours[place:]]

    assert [theirs in reason for reason in disputed(ours, present)] == [True] * kept
    assert missing(ours, present) == disputed(ours, present)


def test_list_for_another_purpose_counts_too():
    assert missing(["isolcpus=managed_irq,domain,2"], ["nohz_full=1", "isolcpus=managed_irq,domain,2"]) == []


@pytest.mark.parametrize(
    ("isolated", "reasons"), [("2-3", 0), ("2,3", 0), (None, 0), ("1", 1), ("", 1), ("1-3", 1)]
)
def test_cores_are_isolated_when_the_kernel_says_so(isolated, reasons):
    assert len(not_isolated(["isolcpus=managed_irq,domain,2-3", "nohz_full=2-3"], isolated)) == reasons
    assert not_isolated(["isolcpus=managed_irq,2-3", "nohz_full=2-3"], isolated) == []


def test_parameter_that_we_give_twice_is_judged_by_order_alone():
    pools = ["hugepagesz=1G", "hugepages=2", "hugepagesz=2M", "hugepages=64"]

    assert missing(pools, ["ro", *pools]) == []
    assert missing(pools, ["ro", *pools[2:], *pools[:2]])


def test_new_arguments_stand_where_the_old_ones_did():
    assert replaced(["ro", "a", "b", "splash"], ["a", "b"], ["c"]) == ["ro", "c", "splash"]
    assert replaced(["ro", "splash"], ["a", "b"], ["c"]) == ["ro", "splash", "c"]
    assert replaced(["ro", "a"], ["a"], []) == ["ro"]
    assert replaced(["ro"], [], ["c"]) == ["ro", "c"]
