"""A NIC is bound to another driver, and back: on a fake PCI bus that answers as the kernel does."""

from __future__ import annotations

import json
import subprocess

import pytest
from ansible_collections.labkit.host.plugins.module_utils import drivers, links, nics, undo
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown
from ansible_collections.labkit.host.plugins.module_utils.state import Change, State
from pci_bus import DISK, NIC, OTHER, UPLINK, Bus


@pytest.fixture
def bus(tmp_path, monkeypatch):
    bus = Bus(tmp_path)
    bus.take_the_place_of(monkeypatch, drivers, links)
    return bus


def bind(bus, text=NIC, driver="vfio-pci", **more):
    return drivers.change(
        "dpdk", text, driver, **{"over_ssh": False, "management": [], "root": bus.root, **more}
    )


def notes(bus):
    file = bus.root / "var/lib/labkit/state/dpdk.json"
    return json.loads(file.read_text())["changes"] if file.exists() else []


@pytest.mark.parametrize("spelling", [NIC, "03:00.0", "3:0.0", " 0000:03:00.0"])
def test_nic_is_bound_once_kept_over_boots_and_given_back_with_its_interface(bus, spelling):
    predicted, _ = bind(bus, spelling, check=True)
    untouched = (bus.driver(NIC), list(bus.log), notes(bus))
    first, before = bind(bus, spelling)
    second, _ = bind(bus, spelling)
    [note] = notes(bus)

    assert (predicted, first, second) == (True, True, False)
    assert untouched == ("ixgbe", [], [])
    assert before.interfaces == ["data0"]
    assert bus.driver(NIC) == bus.override(NIC) == "vfio-pci"
    assert note["old"] == {
        "driver": "ixgbe",
        "override": None,
        "interfaces": ["data0"],
        "card": {"model": ":::", "macs": []},
    }
    assert note["persist"] is True

    assert undo.undo("dpdk", bus.root) == ([f"driver {NIC}"], [])
    assert (bus.driver(NIC), bus.override(NIC)) == ("ixgbe", "(null)")
    assert nics.interfaces_of(NIC, bus.root) == ["data0"]
    assert notes(bus) == []


def test_no_third_driver_can_take_the_device_in_between(bus):
    bind(bus)

    assert [name for name, _ in bus.log] == ["driver_override", "unbind", "drivers_probe", "driver_override"]


def test_device_that_is_on_the_driver_already_is_noted_for_the_next_boot(bus):
    (bus.device(NIC) / "driver_override").write_text("vfio-pci\n")
    bus.write(bus.device(NIC) / "driver/unbind", NIC)
    bus.probe(NIC)
    bus.log.clear()

    assert bind(bus)[0] is True
    assert bind(bus)[0] is False
    assert bus.log == []
    assert undo.undo("dpdk", bus.root)[1] == []
    assert (bus.driver(NIC), bus.override(NIC)) == ("vfio-pci", "vfio-pci")


def test_device_that_the_driver_took_by_itself_is_kept_for_it(bus):
    bus.natural[NIC] = "vfio-pci"
    bus.write(bus.device(NIC) / "driver/unbind", NIC)
    bus.probe(NIC)

    assert bind(bus)[0] is True
    assert bus.override(NIC) == "vfio-pci"


def test_interfaces_of_a_device_are_its_own_and_not_those_that_links_lead_to(bus):
    bus.add(OTHER, "ixgbe", net="vf0")
    (bus.device(NIC) / "virtfn0").symlink_to(bus.device(OTHER))
    (bus.device(OTHER) / "virtio3/net/deep0").mkdir(parents=True)

    assert nics.interfaces_of(NIC, bus.root) == ["data0"]
    assert nics.interfaces_of(OTHER, bus.root) == ["deep0", "vf0"]


def test_driver_that_does_not_take_the_device_is_an_error_and_the_old_one_has_it_again(bus):
    bus.broken.add("vfio-pci")

    with pytest.raises(drivers.DriverRefused, match=r"found it with none .* its old driver ixgbe again"):
        bind(bus)

    assert (bus.driver(NIC), bus.override(NIC)) == ("ixgbe", "(null)")
    assert nics.interfaces_of(NIC, bus.root) == ["data0"]
    assert notes(bus) == []


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
@pytest.mark.parametrize("mend", ["again", "revert"])
def test_run_that_is_killed_at_any_write_is_repaired(bus, monkeypatch, writes, mend):
    def dying(file, text):
        if len(bus.log) == writes:
            raise KeyboardInterrupt
        bus.write(file, text)

    with monkeypatch.context() as patch:
        patch.setattr(drivers, "_write", dying)
        with pytest.raises(KeyboardInterrupt):
            bind(bus)

    if mend == "again":
        bind(bus)
        assert bus.driver(NIC) == bus.override(NIC) == "vfio-pci"
    assert undo.undo("dpdk", bus.root)[1] == []
    assert (bus.driver(NIC), bus.override(NIC)) == ("ixgbe", "(null)")


def test_override_that_somebody_else_had_set_is_reverted(bus):
    (bus.device(NIC) / "driver_override").write_text("ixgbe\n")

    bind(bus)
    undo.undo("dpdk", bus.root)

    assert (bus.driver(NIC), bus.override(NIC)) == ("ixgbe", "ixgbe")


def test_device_without_a_driver_has_none_again(bus):
    bus.write(bus.device(NIC) / "driver/unbind", NIC)

    bind(bus)
    undo.undo("dpdk", bus.root)

    assert (bus.driver(NIC), bus.override(NIC)) == (None, "(null)")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("eth0", "eth0 is no PCI address: expected one such as 0000:03:00.0"),
        ("0000:09:00.0", rf"no PCI device 0000:09:00.0; its NICs are {NIC} \(data0\), {UPLINK} \(up0\)"),
        (DISK, r"is not a NIC \(PCI class 0x010802, expected 0x02"),
        (UPLINK, "up0 is left alone, because the way to this host needs it: the default route goes over it"),
        ("4:0.0", "up0 is left alone"),
        (UPLINK.upper().replace("0000:", ""), "up0 is left alone"),
    ],
)
def test_what_is_no_free_nic_is_refused(bus, text, why):
    bus.add(DISK, "nvme", kind="0x010802", group="9")

    with pytest.raises(drivers.DriverRefused, match=why):
        bind(bus, text)
    assert bus.log == []
    assert notes(bus) == []


def test_interface_with_an_address_is_refused_until_it_is_taken_away(bus):
    bus.addresses["data0"] = [{"local": "fe80::1"}, {"local": "198.18.0.1"}]
    for check in (True, False):
        with pytest.raises(
            drivers.DriverRefused, match=r"data0 .* in use.*address 198\.18\.0\.1\. Take that away"
        ):
            bind(bus, check=check)
    assert (bus.log, notes(bus)) == ([], [])
    assert bind(bus, driver="ixgbe")[0] is True  # it loses nothing by the driver that it has
    assert bus.driver(NIC) == "ixgbe"

    bus.addresses["data0"] = [{"local": "fe80::1"}]
    assert [bind(bus, check=check)[0] for check in (True, False, True, False)] == [True, True, False, False]


def test_nic_with_virtual_functions_is_refused_by_every_way_to_another_driver(bus):
    bind(bus)
    functions = bus.device(NIC) / "sriov_numvfs"
    functions.write_text("4\n")
    assert bind(bus)[0] is False
    assert "4 virtual functions" in undo.undo("dpdk", bus.root)[1][0]
    assert bus.driver(NIC) == "vfio-pci"

    functions.write_text("0\n")
    assert undo.undo("dpdk", bus.root)[1] == []
    functions.write_text("2\n")
    with pytest.raises(
        drivers.DriverRefused, match=r"2 virtual functions.*write 0 to its sriov_numvfs first"
    ):
        bind(bus)
    assert bus.driver(NIC) == "ixgbe"


def test_interface_that_has_got_an_address_since_is_not_taken_at_a_boot(bus):
    bind(bus)
    [change] = State("dpdk", bus.root).changes()
    drivers.put_back(NIC, drivers.Binding("ixgbe", None, ["data0"]), bus.root)  # the boot forgot
    bus.addresses["data0"] = [{"local": "198.18.0.1"}]

    with pytest.raises(drivers.DriverRefused, match=r"data0 .* in use"):
        drivers.again(change, bus.root)
    assert bus.driver(NIC) == "ixgbe"


def test_nic_whose_interface_is_in_another_namespace_is_refused(bus):
    bus.add(OTHER, "ixgbe", group="9")

    with pytest.raises(
        drivers.DriverRefused, match=r"no interface that is seen here.*another network namespace"
    ):
        bind(bus, OTHER)


@pytest.mark.parametrize("named", ["data0", "3:00.0", "0000:03:00.0"])
def test_nic_that_the_inventory_calls_management_is_refused(bus, named):
    with pytest.raises(drivers.DriverRefused, match="labkit_host_management_interfaces"):
        bind(bus, management=[named])


def test_nothing_is_bound_where_the_route_of_ssh_is_unknown(bus):
    with pytest.raises(WayUnknown):
        bind(bus, over_ssh=True)


@pytest.mark.parametrize("driver", sorted(links.BIFURCATED))
def test_driver_beside_which_dpdk_works_keeps_its_device(bus, driver):
    bus.load(driver)
    bus.add(OTHER, driver, net="cx0", group="9")

    with pytest.raises(drivers.DriverRefused, match=f"must keep its driver {driver}: DPDK works beside it"):
        bind(bus, OTHER)


def test_device_in_no_iommu_group_is_refused_for_vfio_and_taken_for_uio(bus):
    bus.load("uio_pci_generic")
    bus.add(OTHER, "ixgbe", net="data1")

    with pytest.raises(drivers.DriverRefused, match=r"in no IOMMU group.*dpdk_iommu: on.*unsafe"):
        bind(bus, OTHER)
    assert bind(bus, OTHER, "uio_pci_generic")[0] is True


def test_check_mode_believes_in_the_iommu_that_the_boot_to_come_switches_on(bus):
    bus.add(OTHER, "ixgbe", net="data1")
    arguments = ["intel_iommu=on", "iommu=pt"]

    assert bind(bus, OTHER, boot_arguments=arguments, check=True)[0] is True
    with pytest.raises(drivers.DriverRefused, match="in no IOMMU group"):
        bind(bus, OTHER, boot_arguments=arguments)
    (bus.root / "proc/cmdline").write_text("quiet intel_iommu=on iommu=pt\n")
    with pytest.raises(drivers.DriverRefused, match="in no IOMMU group"):
        bind(bus, OTHER, boot_arguments=arguments, check=True)


@pytest.mark.parametrize("built", [True, False])
def test_noiommu_needs_a_kernel_that_has_it(bus, built):
    bus.add(OTHER, "ixgbe", net="data1")
    parameters = bus.root / "sys/module/vfio/parameters"
    parameters.mkdir(parents=True)
    if built:
        (parameters / "enable_unsafe_noiommu_mode").write_text("Y\n")
        assert bind(bus, OTHER, noiommu=True)[0] is True
    else:
        with pytest.raises(drivers.DriverRefused, match="CONFIG_VFIO_NOIOMMU"):
            bind(bus, OTHER, noiommu=True)


def test_neighbour_in_the_iommu_group_is_named_unless_it_goes_too(bus):
    bus.add(OTHER, "ixgbe", net="data1", group="7")

    with pytest.raises(drivers.DriverRefused, match=f"shares IOMMU group 7 with {OTHER}, whose driver ixgbe"):
        bind(bus)
    assert bind(bus, together=[NIC, "03:00.1"])[0] is True
    assert bind(bus, OTHER)[0] is True


@pytest.mark.parametrize(("driver", "kind"), [("pcieport", "0x060400"), ("pci-stub", "0x020000")])
def test_neighbour_that_does_no_harm_is_no_hindrance(bus, driver, kind):
    bus.load(driver)
    bus.add(OTHER, driver, kind=kind, group="7")

    assert bind(bus)[0] is True


def test_driver_that_the_kernel_has_not_is_refused_in_check_mode_too(bus, monkeypatch):
    asked = []

    def modprobe(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "Module igb_uio not found")

    monkeypatch.setattr(drivers.subprocess, "run", modprobe)
    for check in (True, False):
        with pytest.raises(drivers.DriverRefused, match=r"no driver igb_uio .*Module igb_uio not found"):
            bind(bus, driver="igb_uio", check=check)

    assert asked == [["modprobe", "--dry-run", "igb_uio"], ["modprobe", "igb_uio"]]
    assert bus.driver(NIC) == "ixgbe"


def test_device_in_use_is_not_pulled_away_from_under_its_program(bus):
    bind(bus)
    process = bus.root / "proc/4711"
    (process / "fd").mkdir(parents=True)
    (process / "fd/5").symlink_to("/dev/vfio/7")
    (process / "comm").write_text("dpdk-testpmd\n")

    done, left = undo.undo("dpdk", bus.root)

    assert done == []
    assert left == [f"driver {NIC}: {NIC} is in use by dpdk-testpmd (pid 4711): end that first"]
    assert bus.driver(NIC) == "vfio-pci"
    assert len(notes(bus)) == 1


def test_interface_that_does_not_come_back_is_reported_and_the_note_stays(bus):
    bind(bus)
    bus.net[NIC] = "other0"

    _, left = undo.undo("dpdk", bus.root)

    assert "not its interface data0 (found other0)" in left[0]
    assert len(notes(bus)) == 1


def test_device_that_is_gone_is_reported(bus):
    bind(bus)
    (bus.device(NIC)).rename(bus.root / "gone")

    assert undo.undo("dpdk", bus.root)[1] == [
        f"driver {NIC}: {NIC} is no longer there (its driver was ixgbe)"
    ]


def test_after_a_boot_it_is_bound_again_but_not_once_the_way_to_the_host_goes_over_it(bus):
    change = Change(
        "driver", NIC, {"driver": "ixgbe", "override": None, "interfaces": ["data0"]}, "vfio-pci", True
    )

    drivers.again(change, bus.root)
    assert bus.driver(NIC) == "vfio-pci"

    with pytest.raises(drivers.DriverRefused, match="the way to this host needs it"):
        drivers.again(Change("driver", UPLINK, change.old, "vfio-pci", True), bus.root)
    assert bus.driver(UPLINK) == "ixgbe"


def wear(bus, address, *, device="0x1563", mac="52:54:00:00:00:01"):
    """The numbers and the address of a card."""
    (bus.device(address) / "vendor").write_text("0x8086\n")
    (bus.device(address) / "device").write_text(device + "\n")
    net = bus.root / "sys/class/net" / bus.net[address]
    net.mkdir(parents=True, exist_ok=True)
    (net / "addr_assign_type").write_text("0\n")
    (net / "address").write_text(mac + "\n")


@pytest.mark.parametrize("other", [{"device": "0x159b"}, {"mac": "52:54:00:00:00:02"}])
def test_another_card_that_has_come_to_its_address_is_left_alone(bus, other):
    wear(bus, NIC)
    bind(bus)
    drivers.put_back(NIC, drivers.Binding("ixgbe", None, ["data0"]), bus.root)  # the boot forgot
    [change] = State("dpdk", bus.root).changes()
    wear(bus, NIC, **other)

    with pytest.raises(drivers.DriverRefused, match=f"another card is at {NIC} by now"):
        drivers.again(change, bus.root)
    assert bus.driver(NIC) == "ixgbe"
    assert "another card" in undo.undo("dpdk", bus.root)[1][0]

    wear(bus, NIC)
    drivers.again(change, bus.root)
    assert bus.driver(NIC) == "vfio-pci"
    assert undo.undo("dpdk", bus.root) == ([f"driver {NIC}"], [])


def test_after_a_boot_it_is_not_taken_before_its_interface_tells_which_card_it_is(bus):
    bind(bus)
    [change] = State("dpdk", bus.root).changes()
    bus.write(bus.device(NIC) / "driver/unbind", NIC)
    bus.write(bus.device(NIC) / "driver_override", "")  # booted, and its module is not loaded yet

    with pytest.raises(drivers.DriverRefused, match=r"no interface yet \(it had data0\): left alone"):
        drivers.again(change, bus.root)
    assert bus.driver(NIC) is None

    bus.probe(NIC)
    drivers.again(change, bus.root)
    assert bus.driver(NIC) == "vfio-pci"


def test_undo_after_a_boot_that_forgot_finds_nothing_to_do(bus):
    bind(bus)
    drivers.put_back(NIC, drivers.Binding("ixgbe", None, ["data0"]), bus.root)
    bus.log.clear()

    assert undo.undo("dpdk", bus.root) == ([f"driver {NIC}"], [])
    assert bus.log == []
