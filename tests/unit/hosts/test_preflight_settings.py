"""What drivers and interfaces would not take is reported before the kernel is changed, not by the last role."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.labkit.host.plugins.module_utils import drivers, ethtool_groups, preflight_settings
from ansible_collections.labkit.host.plugins.module_utils.links import Interface, Untouchable

NIC = "0000:03:00.0"
DISK = "0000:05:00.0"
INTERFACES = [Interface("data0", "ixgbe", NIC, None, [], False)]
SHOWN = {
    "-g": "Pre-set maximums:\nRX:\t\t4096\nCurrent hardware settings:\nRX:\t\t512\n",
    "-k": "Features for data0:\ngeneric-receive-offload: on\n",
    "-l": "Pre-set maximums:\nCombined:\t8\nCurrent hardware settings:\nCombined:\t8\n",
}


def touchable(text):
    if text != "data0":
        raise Untouchable(text)
    return INTERFACES[0]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A NIC and a disk; ethtool that shows, modprobe that has no module."""
    for address, kind in ((NIC, "0x020000"), (DISK, "0x010802")):
        device = tmp_path / "sys/bus/pci/devices" / address
        device.mkdir(parents=True)
        (device / "class").write_text(kind + "\n")
    (tmp_path / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)

    def run(command, **_):
        if command[0] == "ethtool":
            if command[1] not in SHOWN:
                return subprocess.CompletedProcess(command, 1, "", "netlink error: Operation not permitted")
            return subprocess.CompletedProcess(command, 0, SHOWN[command[1]], "")
        assert command[:2] == ["modprobe", "--dry-run"]
        return subprocess.CompletedProcess(command, 1, "", f"Module {command[2]} not found")

    monkeypatch.setattr(ethtool_groups.subprocess, "run", run)
    monkeypatch.setattr(drivers.subprocess, "run", run)
    return tmp_path


def problems_of(wanted, root):
    return [*preflight_settings.slips(wanted), *preflight_settings.lacks(wanted, INTERFACES, touchable, root)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"features": {"gro": "of"}}, "features gro of: expected on or off"),
        (
            {"features": {"grow": False}},
            "data0: its driver has no features grow; it has generic-receive-offload",
        ),
        ({"rings": {"rx": -5}}, "rings rx -5: expected 0 or more"),
        ({"rings": {"rx": 5000}}, "data0: rings rx 5000 is more than the driver's maximum, 4096"),
        ({"rss": {"indirection": "equal 2"}}, "ethtool -x data0: Operation not permitted"),
        ({"rings": {"tx": 64}}, "data0: its driver has no rings tx; it has rx"),
    ],
)
def test_setting_that_the_interface_does_not_take_is_reported(root, settings, expected):
    wanted = {"nic_tuning_interfaces": [{"name": "data0", "channels": {"combined": 2}, **settings}]}

    assert problems_of(wanted, root) == [f"nic_tuning_interfaces[0]: {expected}"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mtu": 0}, "mtu 0: expected at least 68 bytes, or leave it out"),
        ({"queues": 9}, "data0: channels combined 9 is more than the driver's maximum, 8"),
        ({"gro_flush_timeout_ns": -1}, "napi gro_flush_timeout -1: expected 0 or more"),
    ],
)
def test_setting_of_af_xdp_is_reported_as_the_role_gives_it_to_ethtool(root, settings, expected):
    wanted = {"af_xdp_interfaces": [{"name": "data0"}, {"name": "data0", **settings}]}

    assert problems_of(wanted, root) == [f"af_xdp_interfaces[1]: {expected}"]


def test_what_the_interface_takes_is_no_problem(root):
    right = {"rings": {"rx": 4096}, "features": {"gro": False}, "channels": {"combined": 1}, "rss": None}

    assert problems_of({"nic_tuning_interfaces": [{"name": "data0", **right}]}, root) == []


def test_all_that_is_wrong_in_a_group_is_reported(root):
    wrong = {"gro": "of", "grow": False}

    problems = problems_of({"nic_tuning_interfaces": [{"name": "data0", "features": wrong}]}, root)

    assert [word in problem for word, problem in zip(("gro of", "grow"), problems, strict=True)] == [True] * 2


def test_rss_is_not_judged_by_queues_that_an_earlier_role_changes(root):
    spread = {"name": "data0", "rss": {"indirection": "equal 2"}}
    wanted = {"nic_tuning_interfaces": [spread], "af_xdp_interfaces": [{"name": "data0", "queues": 2}]}

    assert problems_of(wanted, root) == []


def test_ethtool_that_a_run_installs_first_is_waited_for(root, monkeypatch):
    def missing(command, **_):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(ethtool_groups.subprocess, "run", missing)
    wanted = {"nic_tuning_interfaces": [{"name": "data0", "rings": {"rx": 5000}, "features": {"gro": "of"}}]}

    assert problems_of(wanted, root) == ["nic_tuning_interfaces[0]: features gro of: expected on or off"]


def test_interface_that_must_not_be_touched_is_not_asked(root):
    assert problems_of({"nic_tuning_interfaces": [{"name": "eth0", "rings": {"rx": 5000}}]}, root) == []


def bind(driver, address=NIC, **more):
    return {"dpdk_devices": [{"pci": address, "driver": driver}], **more}


def test_driver_that_the_kernel_has_not_is_reported(root):
    [problem] = problems_of(bind("vfio-pcii", dpdk_packages=["dpdk-dev"]), root)

    assert problem.startswith(
        "dpdk_devices[0].driver: this kernel has no driver vfio-pcii (Module vfio-pcii not found)"
    )


@pytest.mark.parametrize(
    "wanted",
    [
        bind("vfio-pci"),
        bind("igb_uio", dpdk_packages=["dpdk-dev", "dpdk-igb-uio-dkms"]),
        bind("uio_pci_generic", lowlatency_kernel_packages=["linux-modules-extra-6.8.0-60-lowlatency"]),
        bind("vfio-pcii", address=DISK),  # reported as no NIC
        bind("vfio-pcii", address="data0"),  # reported as no address
    ],
)
def test_driver_that_is_there_or_comes_with_packages_is_no_problem(root, wanted):
    assert problems_of(wanted, root) == []
