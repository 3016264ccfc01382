"""A lab binds a NIC to vfio-pci and gives it back: on a fake PCI bus, with the journal and in any process."""

from __future__ import annotations

import pytest
from pci_bus import NIC, OTHER, UPLINK, Bus

from labkit.errors import EnvironmentBroken
from labkit.machine import nic_settings, pci_driver
from labkit.machine.journal import Journal
from labkit.machine.pci_driver import VFIO, PciDriverTunable
from labkit.machine.roles import host_module
from labkit.machine.tunables import turn
from labkit.machine.undo import down


class Card:
    """The settings of interfaces, as far as these tests care: gone with the driver."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.mtu = "9000"

    def capture(self, interface: str) -> dict[str, str]:
        return {"mtu": self.mtu}

    def put_back(self, interface: str, old: dict[str, str]) -> list[str]:
        assert host_module("nics").interfaces_of(NIC, self.bus.root) == [interface]
        self.mtu = old["mtu"]
        return []


@pytest.fixture
def bus(tmp_path, monkeypatch):
    bus = Bus(tmp_path / "bus")
    bus.take_the_place_of(monkeypatch, host_module("drivers"), host_module("links"))
    monkeypatch.setattr(pci_driver, "_ROOT", bus.root)
    monkeypatch.setattr(pci_driver, "_LET_GO_S", 0.1)
    return bus


@pytest.fixture
def card(bus, monkeypatch):
    card = Card(bus)
    monkeypatch.setattr(nic_settings, "capture", card.capture)
    monkeypatch.setattr(nic_settings, "put_back", card.put_back)
    return card


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


def take(bus, card, journal):
    turn(PciDriverTunable.of(NIC), VFIO, journal=journal, lab="one")
    card.mtu = "1500"


def test_a_nic_is_bound_and_given_back_with_its_interface_and_settings(bus, card, journal):
    take(bus, card, journal)
    assert (bus.driver(NIC), bus.override(NIC)) == (VFIO, VFIO)

    [undone] = down(lab="one", journal=journal, force=True)

    assert undone.left is None
    assert undone.what == f"driver of {NIC}: {VFIO} -> ixgbe"
    assert (bus.driver(NIC), bus.override(NIC), card.mtu) == ("ixgbe", "(null)", "9000")
    assert down(journal=journal, force=True) == []


def test_settings_come_back_also_where_the_driver_is_back_already(bus, card, journal):
    take(bus, card, journal)
    [entry] = journal.read().entries
    drivers = host_module("drivers")
    drivers.put_back(NIC, drivers.Binding(**entry.tunable["before"]["binding"]), bus.root)

    down(lab="one", journal=journal, force=True)

    assert card.mtu == "9000"


def test_what_another_program_bound_since_is_left_and_named(bus, card, journal):
    take(bus, card, journal)
    bus.load("igb_uio")
    bus.write(bus.device(NIC) / "driver_override", "igb_uio")
    bus.write(bus.device(NIC) / "driver/unbind", NIC)
    bus.probe(NIC)

    [undone] = down(lab="one", journal=journal, force=True)

    assert "is bound to igb_uio now: by another program" in undone.left
    assert bus.driver(NIC) == "igb_uio"


def test_a_nic_that_its_program_still_has_open_is_left_and_the_program_named(bus, card, journal):
    take(bus, card, journal)
    process = bus.root / "proc/4711"
    (process / "fd").mkdir(parents=True)
    (process / "fd/5").symlink_to("/dev/vfio/7")
    (process / "comm").write_text("labkit-probe-dp\n")

    [undone] = down(lab="one", journal=journal, force=True)

    assert "in use by labkit-probe-dp (pid 4711)" in undone.left
    assert bus.driver(NIC) == VFIO

    (process / "fd/5").unlink()  # it has ended
    [undone] = down(lab="one", journal=journal, force=True)

    assert undone.left is None
    assert (bus.driver(NIC), card.mtu) == ("ixgbe", "9000")


def test_a_driver_that_does_not_take_the_nic_leaves_it_as_it_was(bus, card, journal):
    bus.broken.add(VFIO)

    with pytest.raises(EnvironmentBroken, match="found it with none"):
        turn(PciDriverTunable.of(NIC), VFIO, journal=journal, lab="one")

    assert (bus.driver(NIC), bus.override(NIC)) == ("ixgbe", "(null)")
    assert journal.read().entries == ()


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_process_that_is_killed_at_any_write_is_repaired_by_the_next(
    bus, card, journal, monkeypatch, writes
):
    def dying(file, text):
        if len(bus.log) == writes:
            raise SystemExit
        bus.write(file, text)

    tunable = PciDriverTunable.of(NIC)
    journal.begin(lab="one", tunable=tunable.describe(), old=tunable.read(), new=VFIO)
    with monkeypatch.context() as patch:
        patch.setattr(host_module("drivers"), "_write", dying)
        with pytest.raises(SystemExit):
            tunable.write(VFIO)

    [undone] = down(lab="one", journal=journal, force=True)

    assert undone.left is None
    assert (bus.driver(NIC), bus.override(NIC)) == ("ixgbe", "(null)")
    assert host_module("nics").interfaces_of(NIC, bus.root) == ["data0"]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (UPLINK, "up0 is left alone, because the way to this host needs it"),
        (OTHER, "in no IOMMU group"),
    ],
)
def test_a_nic_that_must_not_or_cannot_be_bound_is_refused(bus, address, why):
    bus.add(OTHER, "ixgbe", net="data1")

    with pytest.raises(EnvironmentBroken, match=why):
        pci_driver.check(address, together=[address])
    assert bus.log == []


def test_a_nic_with_an_address_of_its_own_is_refused(bus):
    bus.addresses["data0"] = [{"local": "203.0.113.5"}]

    with pytest.raises(EnvironmentBroken, match=r"it has the address 203\.0\.113\.5"):
        pci_driver.check(NIC, together=[NIC])


def test_nics_of_one_iommu_group_are_bound_together_or_not_at_all(bus):
    bus.add(OTHER, "ixgbe", net="data1", group="7")

    with pytest.raises(EnvironmentBroken, match=f"shares IOMMU group 7 with {OTHER}"):
        pci_driver.check(NIC, together=[NIC])
    pci_driver.check(NIC, together=[NIC, OTHER])


def role_bound(bus):
    """As the role dpdk leaves a NIC."""
    bus.write(bus.device(NIC) / "driver_override", VFIO)
    bus.write(bus.device(NIC) / "driver/unbind", NIC)
    bus.probe(NIC)
    assert pci_driver.is_on_vfio(NIC)
    bus.log.clear()


def test_a_nic_that_the_role_bound_is_the_kernels_for_a_lab_and_bound_again_after(bus, card, journal):
    role_bound(bus)

    pci_driver.to_kernel(NIC, journal=journal, lab="one")

    assert (bus.driver(NIC), bus.override(NIC)) == ("ixgbe", "(null)")
    assert host_module("nics").interfaces_of(NIC, bus.root) == ["data0"]

    # Meanwhile DPDK has it for a while, and the kernel again.
    turn(PciDriverTunable.of(NIC), VFIO, journal=journal, lab="one")
    undone = down(lab="one", journal=journal, force=True)

    assert [one.left for one in undone] == [None, None]
    assert (bus.driver(NIC), bus.override(NIC)) == (VFIO, VFIO)


def test_a_nic_that_the_kernel_has_no_driver_for_stays_with_vfio(bus, card, journal):
    role_bound(bus)
    del bus.natural[NIC]

    with pytest.raises(EnvironmentBroken, match="does this kernel have a driver for it"):
        pci_driver.to_kernel(NIC, journal=journal, lab="one")

    assert (bus.driver(NIC), bus.override(NIC)) == (VFIO, VFIO)
    assert journal.read().entries == ()


def test_a_nic_that_the_way_to_this_host_came_to_use_is_not_bound_again(bus, card, journal):
    role_bound(bus)
    pci_driver.to_kernel(NIC, journal=journal, lab="one")
    bus.default = "data0"

    [undone] = down(lab="one", journal=journal, force=True)

    assert "the way to this host goes over data0" in undone.left
    assert bus.driver(NIC) == "ixgbe"
