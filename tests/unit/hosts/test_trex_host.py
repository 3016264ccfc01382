"""Ports of TRex, its archive and its memory are judged on the host, before anything is changed."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.labkit.host.plugins.module_utils import archives, trees, trex_host
from ansible_collections.labkit.host.plugins.module_utils.trex_config import Cores, Port
from test_preflight_devices import INTERFACES, SSH, root, touchable

assert root  # a fixture

SHA256 = hashlib.sha256(b"whole").hexdigest()
WANTED = {"trex_version": "v3.08", "trex_sha256": SHA256, "trex_dir": "/opt/trex"}
PAGES = {"hugepages_count": "1024"}


def problems_of(root, *ports, **more):
    wanted = {**PAGES, "trex_ports": list(ports), **more}
    return list(trex_host.problems(wanted, INTERFACES, touchable, root))


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([{"interface": "eth0"}], f"trex_ports[0]: eth0 is left alone: {SSH}"),
        ([{"interface": "eth9"}], "trex_ports[0]: eth9: found none"),
        (
            [{"pci": "01:00.0"}],
            f"trex_ports[0]: eth0 is left alone, because the way to this host needs it: {SSH}",
        ),
        ([{"pci": "09:00.0"}], "trex_ports[0]: this host has no PCI device 0000:09:00.0"),
        ([{"pci": "05:00.0"}], "trex_ports[0]: 0000:05:00.0 is not a NIC"),
        ([{"pci": "02:00.0"}], "trex_ports[0]: 0000:02:00.0 has the driver igb: expected it in dpdk_devices"),
        ([{"interface": "eth1"}, {"interface": "eth1"}], "trex_ports[1]: eth1 is named twice"),
        ([{"pci": "4:0.0"}, {"pci": "0000:04:00.0"}], "trex_ports[1]: 0000:04:00.0 is named twice"),
        ([{"interface": "eth1"}] * 3, "trex_ports has 3 ports"),
    ],
)
def test_port_that_may_not_be_used_is_reported_with_its_place(root, ports, expected):
    [found] = problems_of(root, *ports)

    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("port", "more"),
    [
        ({"interface": "eth1"}, {}),
        ({"pci": "04:00.0"}, {}),  # has vfio-pci
        ({"pci": "03:00.0"}, {}),  # DPDK works beside its driver
        ({"pci": "02:00.0"}, {"dpdk_devices": [{"pci": "0000:02:00.0", "driver": "vfio-pci"}]}),
    ],
)
def test_port_that_dpdk_or_the_kernel_has_may_be_used(root, port, more):
    assert problems_of(root, port, **more) == []


def test_nic_without_an_iommu_is_reported_and_an_interface_is_not(root):
    [found] = problems_of(root, {"pci": "04:00.0"}, dpdk_iommu="noiommu")

    assert found.startswith("trex_ports names NICs by pci, and dpdk_iommu is noiommu")
    assert problems_of(root, {"interface": "eth1"}, dpdk_iommu="noiommu") == []


def test_interface_that_is_to_be_bound_is_reported(root):
    [found] = problems_of(root, {"interface": "eth1"}, dpdk_devices=[{"pci": "2:0.0", "driver": "vfio-pci"}])

    assert found.startswith(
        "trex_ports[0]: eth1 is on 0000:02:00.0, which dpdk_devices takes from the kernel"
    )


def pages(root, *, free, folder="sys/devices/system/node/node1/hugepages"):
    size = root / folder / "hugepages-2048kB"
    size.mkdir(parents=True)
    (size / "free_hugepages").write_text(f"{free}\n")
    (size / "nr_hugepages").write_text(f"{free}\n")


def test_nic_without_hugepages_is_reported_and_an_interface_is_not(root):
    none = {"hugepages_count": "0", "hugepages_pools": [], "trex_memory_mib": 2048}

    [found] = problems_of(root, {"pci": "04:00.0"}, **none)

    assert found.startswith("trex_ports names NICs by pci, which takes hugepages, and this host has none")
    assert problems_of(root, {"interface": "eth1"}, **none) == []
    assert problems_of(root, {"pci": "04:00.0"}, **{**none, "hugepages_pools": [{"count": 8}]}) == []
    pages(root, free=4, folder="sys/kernel/mm/hugepages")
    assert problems_of(root, {"pci": "04:00.0"}, **none) == []


@pytest.mark.parametrize(("free", "short"), [(1024, False), (1023, True)])
def test_free_hugepages_are_counted_on_the_nics_node(root, free, short):
    pages(root, free=free)

    found = list(
        trex_host.short_of_memory(
            [Port("0000:04:00.0", True, 1)], Cores(pairs=((1,),)), memory_mib=2048, root=root
        )
    )

    assert found == (
        [
            "2046 MiB of hugepages are free on NUMA node 1, expected 2048: ask for more (role hugepages: "
            "hugepages_count or hugepages_pools), or for less (trex_memory_mib)"
        ]
        if short
        else []
    )


def archive_problems(root, controller=None, **more):
    return list(archives.problems(archives.TREX, {**WANTED, **more}, controller, root))


def test_archive_on_the_host_is_compared_with_its_checksum(root):
    (root / "v3.08.tar.gz").write_bytes(b"who")
    (root / "whole.tar.gz").write_bytes(b"whole")

    [half] = archive_problems(root, trex_url="/v3.08.tar.gz")
    [none] = archive_problems(root, trex_url="file:///gone.tar.gz")

    assert half.startswith(f"trex_url: /v3.08.tar.gz: expected sha256 {SHA256} (trex_sha256), found ")
    assert "of 3 bytes: it is another file, or half of it" in half
    assert none.startswith("trex_url: /gone.tar.gz: No such file or directory")
    assert archive_problems(root, trex_url="/whole.tar.gz") == []
    assert archive_problems(root, trex_url="https://198.18.0.1/v3.08.tar.gz") == []


def test_archive_where_ansible_runs_is_compared_with_its_checksum(root):
    named = {"trex_archive": "/home/lab/v3.08.tar.gz"}

    [none] = archive_problems(root, {"exists": False}, **named)
    [half] = archive_problems(root, {"exists": True, "checksum": "0" * 64, "size": 3}, **named)

    assert none == "trex_archive: /home/lab/v3.08.tar.gz: there is no such file where Ansible runs"
    assert half.startswith("trex_archive: /home/lab/v3.08.tar.gz: expected sha256")
    [closed] = archive_problems(root, {"error": "Permission denied"}, **named)
    assert closed.endswith(": cannot be read where Ansible runs: Permission denied")
    for unfit in ({"exists": True, "isreg": False}, {"exists": True, "isreg": True, "readable": False}):
        [found] = archive_problems(root, unfit, **named)
        assert found.endswith(": is no file that may be read where Ansible runs")
    assert archive_problems(root, {"exists": True, "checksum": SHA256}, **named) == []


def test_archive_is_not_needed_where_it_was_unpacked_and_is_whole(root):
    folder = root / "opt/trex/v3.08"
    folder.mkdir(parents=True)
    (folder / trees.MARKER).write_text(f"{SHA256}\n")
    (folder / "_t-rex-64").write_text("whole")
    (folder / trees.RECORD).write_text(f"{SHA256}  _t-rex-64\n")

    assert archive_problems(root, trex_url="/gone.tar.gz") == []
    (folder / "_t-rex-64").write_text("half")
    assert len(archive_problems(root, trex_url="/gone.tar.gz")) == 1


def test_ports_are_those_of_the_host(root):
    for name, number in (("mtu", "9000"), ("flags", "0x1002")):
        (root / "sys/class/net/eth1").mkdir(parents=True, exist_ok=True)
        (root / "sys/class/net/eth1" / name).write_text(f"{number}\n")
    (root / "sys/bus/pci/devices/0000:04:00.0/numa_node").write_text("1\n")
    (root / "sys/bus/pci/devices/0000:03:00.0/numa_node").write_text("-1\n")

    [interface] = trex_host.ports([{"interface": "eth1"}], touchable, root)
    nics = trex_host.ports([{"pci": "04:00.0"}, {"pci": "3:0.0"}], touchable, root)

    assert interface == Port("eth1", False, None, 9000)
    assert nics == [
        Port("0000:04:00.0", True, 1),
        Port("0000:03:00.0", True, None, bifurcated=True),
    ]
    assert trex_host.down([interface, *nics], root) == ["eth1"]


def test_cores_of_the_host_are_those_of_its_nodes(root):
    for node, cores in ((0, "0-3"), (1, "4-7")):
        (root / f"sys/devices/system/node/node{node}").mkdir(parents=True)
        (root / f"sys/devices/system/node/node{node}/cpulist").write_text(f"{cores}\n")
    (root / "sys/devices/system/cpu").mkdir(parents=True)
    (root / "sys/devices/system/cpu/online").write_text("0-7\n")

    found = trex_host.cores([Port("0000:04:00.0", True, 1)], given="", threads=1, isolated="", root=root)

    assert found == Cores(main=4, receiver=5, pairs=((7,),))
