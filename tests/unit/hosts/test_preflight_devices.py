"""Interfaces and PCI devices that a host's variables name are judged before anything is changed."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import preflight_devices
from ansible_collections.labkit.host.plugins.module_utils.links import Interface, Untouchable

SSH = "it carries the SSH connection to 198.18.0.1"
INTERFACES = [
    Interface("lo", None, None, None, [], False),
    Interface("eth0", "igb", "0000:01:00.0", None, [SSH], False),
    Interface("eth1", "igb", "0000:02:00.0", None, [], False),
    Interface("eth2", "mlx5_core", "0000:03:00.0", None, [], True),
    Interface("eth3", "igb", "0000:06:00.0", None, [], False, ["it has the address 198.18.0.1"]),
]


def touchable(text):
    """As links.touchable, which is tested with the real thing."""
    for interface in INTERFACES:
        if interface.name == text:
            if interface.protected:
                raise Untouchable(f"{text} is left alone: {interface.protected[0]}")
            return interface
    raise Untouchable(f"{text}: found none. There are lo, eth0, eth1, eth2.")


@pytest.fixture
def root(tmp_path):
    """Two NICs, one with a bifurcated driver, one bound to vfio-pci, and a disk."""
    for address, kind, driver in (
        ("0000:01:00.0", "0x020000", "igb"),
        ("0000:02:00.0", "0x020000", "igb"),
        ("0000:03:00.0", "0x020700", "mlx5_core"),
        ("0000:04:00.0", "0x020000", "vfio-pci"),
        ("0000:05:00.0", "0x010802", "nvme"),
        ("0000:06:00.0", "0x020000", "igb"),
    ):
        device = tmp_path / "sys/bus/pci/devices" / address
        device.mkdir(parents=True)
        (device / "class").write_text(kind + "\n")
        (tmp_path / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(tmp_path / "sys/bus/pci/drivers" / driver)
    return tmp_path


def problems_of(wanted, root):
    return list(preflight_devices.problems(wanted, INTERFACES, touchable, root))


def bind(*addresses, driver="uio_pci_generic"):
    return {"dpdk_devices": [{"pci": address, "driver": driver} for address in addresses]}


@pytest.mark.parametrize("address", ["0000:02:00.0", "02:00.0", "0000:04:00.0"])
def test_free_nic_may_be_bound_also_when_it_is_already(root, address):
    assert problems_of(bind(address), root) == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("eth1", "eth1 is no PCI address: expected one such as 0000:03:00.0"),
        ("0000:09:00.0", "this host has no PCI device 0000:09:00.0; its NICs are 0000:01:00.0 (eth0), "),
        ("0000:05:00.0", "0000:05:00.0 is not a NIC (PCI class 0x010802"),
        ("0000:01:00.0", f"eth0 is left alone, because the way to this host needs it: {SSH}"),
        (
            "0000:06:00.0",
            "eth3 on 0000:06:00.0 is in use, and what it has would be lost: it has the address 198.",
        ),
        ("0000:03:00.0", "0000:03:00.0 must keep its driver mlx5_core: DPDK works beside it"),
    ],
)
def test_device_that_may_not_be_bound_is_reported(root, address, expected):
    [problem] = problems_of(bind(address), root)

    assert problem.startswith("dpdk_devices[0].pci: " + expected)


def test_nics_of_the_host_are_listed_without_its_disks(root):
    [problem] = problems_of(bind("0000:05:00.0"), root)

    assert problem.endswith(
        "its NICs are 0000:01:00.0 (eth0), 0000:02:00.0 (eth1), 0000:03:00.0 (eth2), 0000:04:00.0, "
        "0000:06:00.0 (eth3)"
    )


@pytest.mark.parametrize("variable", ["af_xdp_interfaces", "nic_tuning_interfaces"])
@pytest.mark.parametrize("name", ["eth0", "eth9"])
def test_interface_that_may_not_be_tuned_is_reported_with_its_place(root, variable, name):
    [problem] = problems_of({variable: [{"name": "eth1"}, {"name": name}]}, root)

    assert problem.startswith(f"{variable}[1].name: {name}")


def test_what_is_named_twice_is_reported(root):
    wanted = {**bind("02:00.0", "0000:02:00.0"), "af_xdp_interfaces": [{"name": "eth2"}, {"name": "eth2"}]}

    assert problems_of(wanted, root) == [
        "af_xdp_interfaces[1].name: eth2 is named twice. Name it once",
        "dpdk_devices[1].pci: 0000:02:00.0 is named twice. Name it once",
    ]


def test_nic_for_dpdk_that_another_role_wants_in_the_kernel_is_reported(root):
    [problem] = problems_of({**bind("0000:02:00.0"), "nic_tuning_interfaces": [{"name": "eth1"}]}, root)

    assert problem == (
        "dpdk_devices[0].pci: 0000:02:00.0 is also nic_tuning_interfaces[0].name, which needs it in the kernel. "
        "Name it in one of them"
    )


def test_interface_may_be_in_both_lists_of_the_kernel(root):
    names = [{"name": "eth1"}]

    assert problems_of({"af_xdp_interfaces": names, "nic_tuning_interfaces": names}, root) == []


def in_group(root, number, *addresses):
    group = root / f"sys/kernel/iommu_groups/{number}/devices"
    group.mkdir(parents=True)
    for address in addresses:
        device = root / "sys/bus/pci/devices" / address
        (group / address).symlink_to(device)
        (device / "iommu_group").symlink_to(group.parent)


def test_nic_that_shares_its_iommu_group_with_another_driver_is_reported(root):
    in_group(root, 3, "0000:02:00.0", "0000:05:00.0")

    [problem] = problems_of(bind("0000:02:00.0", driver="vfio-pci"), root)

    assert "shares IOMMU group 3 with 0000:05:00.0, whose driver nvme" in problem


def test_iommu_that_comes_with_the_next_boot_is_waited_for(root):
    (root / "sys/firmware/acpi/tables").mkdir(parents=True)
    (root / "sys/firmware/acpi/tables/DMAR").touch()

    assert problems_of(bind("0000:02:00.0", driver="vfio-pci"), root) == []


def test_machine_without_an_iommu_is_reported(root):
    (root / "sys/firmware/acpi/tables").mkdir(parents=True)

    [problem] = problems_of(bind("0000:02:00.0", driver="vfio-pci"), root)

    assert problem.startswith(
        "dpdk_devices[0].pci: 0000:02:00.0 is in no IOMMU group, and the firmware reports no"
    )
    assert "VT-d" in problem


@pytest.mark.parametrize("on", [False, True])
def test_vfio_with_the_iommu_switched_off_is_reported_also_while_it_is_still_on(root, on):
    if on:
        in_group(root, 3, "0000:02:00.0")

    [problem] = problems_of({**bind("0000:02:00.0", driver="vfio-pci"), "dpdk_iommu": "off"}, root)

    assert "vfio, which works on groups of the IOMMU, and dpdk_iommu is off: expected auto, on, or" in problem


SOURCE = {
    "dpdk_source_url": "https://198.18.0.1/dpdk.tar.xz",
    "dpdk_source_version": "24.11.1",
    "dpdk_source_sha256": "0" * 64,
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dpdk_source_version": ""}, ["dpdk_source_version is empty"]),
        ({"dpdk_source_sha256": ""}, ["dpdk_source_sha256 is empty"]),
        ({"dpdk_source_sha256": "0" * 63 + "g"}, [f"dpdk_source_sha256 is {'0' * 63}g"]),
        (
            {"dpdk_source_sha256": "0" * 65, "dpdk_source_version": ""},
            ["dpdk_source_version", "dpdk_source_sha256"],
        ),
        ({"dpdk_source_url": "", "dpdk_source_sha256": "", "dpdk_source_version": ""}, []),
        ({}, []),
    ],
)
def test_source_of_dpdk_that_is_reported_by_halves_is_reported(given, expected):
    problems = list(preflight_devices.source({**SOURCE, **given}))

    assert len(problems) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(problems, expected, strict=True))
