"""A kernel or command line that can't be had on a host is reported before anything is changed."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import lockdown, preflight_boot
from ansible_collections.labkit.host.plugins.module_utils.links import Interface


@pytest.fixture
def root(tmp_path):
    """A host that somebody else boots: no GRUB, no systemd."""
    files = {
        "proc/sys/kernel/osrelease": "6.1.0-40-amd64\n",
        "proc/sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1\n",
        "proc/cmdline": "root=/dev/vda1 ro quiet\n",
        "sys/devices/system/cpu/isolated": "\n",
        "boot/vmlinuz-6.1.0-40-amd64": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def problems_of(root, **wanted):
    return list(preflight_boot.problems(wanted, root))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"cpu_isolation_cpus": "1-3"}, "cores 1-3 are not isolated"),
        ({"lowlatency_kernel_flavour": "rt"}, "6.1.0-40-amd64 is no real-time kernel"),
        ({"lowlatency_kernel_preempt": "full"}, "preemption is unknown, not full"),
        ({"dpdk_iommu": "on"}, "no IOMMU is on"),
        ({"dpdk_devices": [{"pci": "a", "driver": "vfio-pci"}]}, "no IOMMU is on"),
        ({"boot_extra_arguments": ["mitigations=off"]}, "mitigations=off is not there"),
        (
            {"hugepages_pools": [{"size_kib": 1048576, "count": 1, "scope": "boot"}]},
            "no hugepages are reserved at",
        ),
    ],
)
def test_host_without_a_boot_loader_that_is_known_is_refused_with_what_it_lacks(root, wanted, reason):
    [problem] = problems_of(root, **wanted)

    assert reason in problem
    assert "No GRUB was found" in problem


def test_host_that_was_given_all_of_it_from_outside_needs_no_boot_loader(root):
    (root / "proc/cmdline").write_text("root=/dev/vda1 ro isolcpus=1-3 mitigations=off hugepages=1\n")
    (root / "sys/devices/system/cpu/isolated").write_text("1-3\n")
    pools = [{"size_kib": 1048576, "count": 1, "scope": "boot"}]

    assert (
        problems_of(
            root, cpu_isolation_cpus="1-3", boot_extra_arguments=["mitigations=off"], hugepages_pools=pools
        )
        == []
    )


def test_host_of_which_nothing_is_wanted_needs_none_either(root):
    assert problems_of(root, lowlatency_kernel_flavour="generic", cpu_isolation_cpus="") == []


def test_all_that_is_in_the_way_is_reported(root):
    (root / "boot/grub").mkdir()
    (root / "boot/grub/grub.cfg").write_text("menuentry 'Other' {\n}\n")
    (root / "usr/sbin").mkdir(parents=True)
    (root / "usr/sbin/update-grub").touch()

    problems = "\n".join(problems_of(root, lowlatency_kernel_release="6.99"))

    assert "no kernel 6.99 is installed, but 6.1.0-40-amd64" in problems
    wanted = {"lowlatency_kernel_release": "6.99", "lowlatency_kernel_packages": ["linux-image-6.99"]}
    assert "no kernel 6.99" not in "\n".join(problems_of(root, **wanted)), "its package comes first"
    assert "does not follow next_entry" in problems
    assert "PID 1 is not systemd" in problems


def test_folder_of_grub_that_is_closed_is_reported(root, monkeypatch):
    """To an ordinary user on EL, where it is root's alone."""
    error = PermissionError(13, "Permission denied", "/boot/grub2/grub.cfg")
    monkeypatch.setattr(preflight_boot, "loader", lambda *_: (_ for _ in ()).throw(error))

    [problem] = problems_of(root, cpu_isolation_cpus="1")

    assert f"can't be determined ({error})" in problem


def test_argument_that_grub_would_read_otherwise_is_reported(root):
    [problem] = problems_of(root, boot_extra_arguments=["dyndbg=file x +p"])

    assert problem.startswith("kernel argument 'dyndbg=file x +p': expected one word")


def test_two_lists_of_cores_in_the_inventory_are_reported(root):
    [problem] = problems_of(root, cpu_isolation_cpus="1, 2", boot_extra_arguments=["isolcpus=3"])

    assert problem.startswith(
        "kernel arguments isolcpus=3 and isolcpus=1-2: the kernel takes one of them alone"
    )
    own = {"cpu_isolation_boot_arguments": ["isolcpus=3"]}
    assert "takes one" not in "\n".join(problems_of(root, cpu_isolation_cpus="3", **own))


def test_kernel_that_is_locked_down_lets_no_program_use_uio(root):
    (root / "sys/kernel/security").mkdir(parents=True)
    (root / "sys/kernel/security/lockdown").write_text("none [integrity] confidentiality\n")
    devices = [{"pci": "a", "driver": "vfio-pci"}, {"pci": "b", "driver": "uio_pci_generic"}]

    [problem] = lockdown.problems({"dpdk_devices": devices}, root)

    assert problem.startswith("dpdk_devices[1].driver: uio_pci_generic is of no use here")
    assert "Take vfio-pci" in problem


def test_open_kernel_lets_it(root):
    assert list(lockdown.problems({"dpdk_devices": [{"pci": "b", "driver": "uio_pci_generic"}]}, root)) == []


@pytest.mark.parametrize(("byte", "notes"), [(b"\1", 1), (b"\0", 0)])
def test_secure_boot_is_mentioned_where_a_kernel_is_to_be_changed(root, byte, notes):
    variable = root / lockdown._SECURE_BOOT
    variable.parent.mkdir(parents=True)
    variable.write_bytes(b"\6\0\0\0" + byte)

    assert len(list(lockdown.notes({"lowlatency_kernel_flavour": "rt"}, root))) == notes
    assert list(lockdown.notes({"lowlatency_kernel_flavour": "generic"}, root)) == []


@pytest.mark.parametrize(
    ("argument", "driver"),
    [
        ("modprobe.blacklist=nouveau,virtio_net", "virtio_net"),
        ("module-blacklist=virtio_pci", "virtio-pci"),
        ("modprobe.blacklist=igb", None),
    ],
)
def test_argument_that_forbids_the_driver_of_the_way_in_is_reported(tmp_path, argument, driver):
    way_in, free = "0000:00:02.0", "0000:00:03.0"
    device = tmp_path / "sys/bus/pci/devices" / way_in
    (tmp_path / "sys/bus/pci/drivers/virtio-pci").mkdir(parents=True)
    device.mkdir(parents=True)
    (device / "driver").symlink_to(tmp_path / "sys/bus/pci/drivers/virtio-pci")
    interfaces = [
        Interface("lo", None, None, None, ["named in labkit_host_management_interfaces"], False),
        Interface("ens2", "virtio_net", way_in, None, ["the default route goes over it"], False),
        Interface("ens3", "igb", free, None, [], False),
    ]

    problems = list(preflight_boot.lockouts({"boot_extra_arguments": [argument]}, interfaces, tmp_path))

    assert problems == (
        []
        if driver is None
        else [
            f"kernel argument {argument}: ens2 has the driver {driver}, and the way to this host needs it: the default "
            "route goes over it. Leave it out"
        ]
    )
