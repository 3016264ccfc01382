"""Pools of hugepages: refused where they can't be, and made into the arguments that the kernel reads."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import hugepages
from ansible_collections.labkit.host.plugins.module_utils.hugepages import Memory, Pool

GIB = 1 << 20
HOST = Memory(
    total_kib=16 * GIB,
    nodes_kib={0: 8 * GIB, 1: 8 * GIB},
    sizes_kib=frozenset({2048, GIB}),
    kernel="6.1.0-30-amd64",
)


def pool(count, size_kib=2048, **more):
    return {"size_kib": size_kib, "count": count, **more}


def problems(*pools, host=HOST, **wanted):
    return hugepages.problems({"hugepages_pools": list(pools), **wanted}, host)


def host(**other):
    return Memory(**{**vars(HOST), **other})


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        ([], []),
        ([pool(512)], []),  # at run time
        ([pool(256, scope="boot")], ["hugepagesz=2M", "hugepages=256"]),
        (
            [pool(256, scope="boot"), pool(4, GIB, scope="boot")],
            ["hugepagesz=1G", "hugepages=4", "hugepagesz=2M", "hugepages=256"],
        ),
        (
            [pool(128, node=1, scope="boot"), pool(512, node=0, scope="boot")],
            ["hugepagesz=2M", "hugepages=0:512,1:128"],
        ),
        (
            [pool(8, 64, scope="boot"), pool(2, 32768, scope="boot")],
            ["hugepagesz=32M", "hugepages=2", "hugepagesz=64K", "hugepages=8"],
        ),
    ],
)
def test_each_count_follows_its_size(pools, expected):
    assert hugepages.arguments(pools) == expected


def test_default_size_comes_first():
    assert hugepages.arguments([pool(2, GIB, scope="boot")], GIB) == [
        "default_hugepagesz=1G",
        "hugepagesz=1G",
        "hugepages=2",
    ]


def test_what_the_host_can_have_is_right():
    assert problems(pool(512, node=0), pool(512, node=1, scope="boot"), pool(4, GIB, scope="boot")) == []
    assert problems(hugepages_count="512") == []
    assert problems(hugepages_count="auto") == []


@pytest.mark.parametrize(
    ("pools", "wanted", "expected"),
    [
        (
            [pool(16, 4096)],
            {},
            "this kernel has no hugepages of 4096 KiB, only of 2048 (2 MB), 1048576 (1 GB)",
        ),
        ([pool(512, node=2)], {}, "512 hugepages of 2 MB on node 2: there is no such node, only 0, 1"),
        ([pool(0)], {}, "expected 1 or more"),
        ([pool(1, scope="later")], {}, "expected runtime or boot"),
        ([pool(16, GIB)], {}, "16384 MiB are asked for, more than there is: the host has 16384 MiB"),
        ([pool(8065)], {}, "hugepages_pools: 16130 MiB are asked for"),
        ([], {"hugepages_count": "many"}, "hugepages_count: 'many', expected auto or a number"),
        ([], {"hugepages_count": "-1"}, "hugepages_count: '-1', expected auto or a number"),
        ([], {"hugepages_count": "²"}, "hugepages_count: '²', expected auto or a number"),
        ([], {"hugepages_count": "٥١٢"}, "hugepages_count: '٥١٢', expected auto or a number"),
        ([], {"hugepages_count": "9" * 5000}, "9', expected auto or a number"),
        ([], {"hugepages_count": "9000"}, "hugepages_count: 18000 MiB are asked for"),
        ([pool(9, GIB, node=1)], {}, "9216 MiB are asked for on node 1, which has 8192 MiB"),
        (
            [pool(1), pool(2)],
            {},
            "1 hugepage of 2 MB (runtime) and 2 hugepages of 2 MB (runtime) set the same pages",
        ),
        ([pool(1, node=0), pool(2, node=0, scope="boot")], {}, "on node 0 (boot) set the same pages"),
        ([pool(1, node=0), pool(2, scope="boot")], {}, "set the same pages"),
        (
            [pool(1)],
            {"hugepages_count": 512},
            "hugepages_count: 512 and an entry of hugepages_pools set the same pages",
        ),
        (
            [],
            {"hugepages_default_size_kib": 4},
            "hugepages_default_size_kib: this kernel has no hugepages of 4 KiB",
        ),
    ],
)
def test_what_can_not_be_is_refused_by_name(pools, wanted, expected):
    [problem] = problems(*pools, **wanted)

    assert expected in problem


@pytest.mark.parametrize(
    ("count", "minimum", "expected"),
    [("64", 128, 1), ("127", 128, 1), ("128", 128, 0), ("64", 64, 0), ("0", 128, 0), ("auto", 128, 0)],
)
def test_count_that_carries_no_vhost_pair_is_refused(count, minimum, expected):
    found = problems(hugepages_count=count, hugepages_minimum=minimum)

    assert len(found) == expected
    assert (
        not expected
        or f"{count} hugepages of 2 MB are fewer than the 128 that a vhost pair needs" in found[0]
    )


@pytest.mark.parametrize("sizes_kib", [(), (GIB,), (524288,)])
def test_count_on_a_kernel_without_such_pages_is_refused_and_auto_takes_none(sizes_kib):
    without = host(sizes_kib=frozenset(sizes_kib))

    for count in (512, "512"):
        [problem] = problems(hugepages_count=count, host=without)
        assert problem.startswith(
            "hugepages_count: 512 hugepages of 2 MB can't be reserved: this kernel has no hugepages"
        )
    assert problems(hugepages_count="auto", host=without) == []
    assert problems(hugepages_count="0", host=without) == []


def test_gigabyte_pages_on_a_processor_without_are_refused_with_what_it_takes():
    [problem] = problems(pool(1, GIB), host=host(sizes_kib={2048}))

    assert "only of 2048 (2 MB); 1 GB takes a processor with pdpe1gb" in problem


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [("5.15.0-25-generic", True), ("5.16.0-1", False), ("6.1.0", False), ("5.14.0-427.el9.x86_64", False)],
)
def test_node_on_the_command_line_takes_a_kernel_that_reads_it(kernel, expected):
    found = problems(pool(16, node=1, scope="boot"), host=host(kernel=kernel))

    assert [("kernels before 5.16 take no node" in problem) for problem in found] == [True] * expected
    assert problems(pool(16, node=1), host=host(kernel=kernel)) == []


def test_another_owner_of_the_same_pages_is_refused_by_its_file():
    sysctl = host(sysctls={"/etc/sysctl.d/30-dpdk.conf": "512"})
    grub = host(arguments={"/etc/default/grub": "hugepages=64"})

    assert (
        "/etc/sysctl.d/30-dpdk.conf sets vm.nr_hugepages = 512"
        in problems(pool(256, scope="boot"), host=sysctl)[0]
    )
    assert problems(pool(1, GIB, scope="boot"), host=sysctl) == []  # other pages
    assert problems(hugepages_count="auto", host=sysctl) == []
    assert "/etc/default/grub has hugepages=64" in problems(pool(256, scope="boot"), host=grub)[0]
    assert problems(pool(256), host=grub) == []


def mount(path="/mnt/huge", size_kib=2048, **more):
    return {"path": path, "size_kib": size_kib, **more}


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ([mount(mode="0777")], "mode 0777 lets everybody write"),
        ([mount(mode="1772")], "mode 1772 lets everybody write"),
        ([mount(mode="rwx")], "mode 'rwx', expected octal digits"),
        ([mount(path="huge")], "'huge': expected an absolute path"),
        ([mount(path="/mnt/../etc")], "expected an absolute path"),
        ([mount(path="/mnt/a b")], "expected an absolute path without blanks"),
        ([mount(size_kib=4)], "/mnt/huge: this kernel has no hugepages of 4 KiB"),
        ([mount(), mount()], "/mnt/huge is there twice"),
    ],
)
def test_mount_that_can_not_be_is_refused(mounts, expected):
    [problem] = problems(hugepages_mounts=mounts, hugepages_group="labkit")

    assert expected in problem


def test_group_without_a_mount_is_refused():
    assert "no mount to give it" in problems(hugepages_group="labkit")[0]


@pytest.mark.parametrize(
    ("entry", "group", "mode"),
    [
        (mount(), "", "0700"),
        (mount(), "labkit", "1770"),
        (mount(group="dpdk"), "", "1770"),
        (mount(mode="0750"), "labkit", "0750"),
    ],
)
def test_mount_is_for_root_alone_unless_it_has_a_group(entry, group, mode):
    assert hugepages.mode_of(entry, group) == mode


def test_pool_is_counted_where_its_node_has_it():
    assert Pool(2048, 1).folder == "/sys/kernel/mm/hugepages/hugepages-2048kB"
    assert Pool(GIB, 1, 1).folder == "/sys/devices/system/node/node1/hugepages/hugepages-1048576kB"


def test_old_name_of_scope_means_the_same():
    old, new = pool(256, when="boot"), pool(256, scope="boot")

    assert Pool.of(old) == Pool.of(new)
    assert hugepages.arguments([old]) == hugepages.arguments([new]) == ["hugepagesz=2M", "hugepages=256"]
    assert problems(old) == problems(new) == []


@pytest.mark.parametrize(("scope", "when"), [("boot", "runtime"), ("boot", "boot")])
def test_scope_beside_its_old_name_is_refused(scope, when):
    twice = pool(256, scope=scope, when=when)

    [problem] = problems(pool(4, GIB, scope="boot"), twice)

    assert problem.startswith(f"hugepages_pools[1]: scope is '{scope}' and when is '{when}'")
    assert "Remove when, and write scope: runtime or scope: boot" in problem
    with pytest.raises(ValueError, match="when is the old name of scope"):
        hugepages.arguments([twice])
