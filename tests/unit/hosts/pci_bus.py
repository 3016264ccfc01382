"""A fake PCI bus that answers as the kernel does, for tests of what changes drivers."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.labkit.host.plugins.module_utils import nics
from ansible_collections.labkit.host.plugins.module_utils.protected import Network

NIC = "0000:03:00.0"
OTHER = "0000:03:00.1"
UPLINK = "0000:04:00.0"
DISK = "0000:05:00.0"


class Bus:
    """The kernel's side of a PCI bus in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.natural: dict[str, str] = {}
        self.net: dict[str, str] = {}
        self.addresses: dict[str, list[dict[str, str]]] = {}
        self.broken: set[str] = set()
        self.default = "up0"
        """The interface of the default route."""
        self.log: list[tuple[str, str]] = []
        for name in ("sys/bus/pci/drivers", "sys/bus/pci/devices", "proc", "sys/module"):
            (root / name).mkdir(parents=True)
        (root / "proc/cmdline").write_text("quiet\n")
        self.load("ixgbe")
        self.load("vfio-pci")
        self.add(NIC, "ixgbe", net="data0", group="7")
        self.add(UPLINK, "ixgbe", net="up0", group="8")

    def take_the_place_of(
        self, monkeypatch: pytest.MonkeyPatch, drivers: ModuleType, links: ModuleType
    ) -> None:
        """Have these modules of the collection, whatever package they were imported by, write to this bus."""
        monkeypatch.setattr(drivers, "_write", self.write)
        monkeypatch.setattr(drivers, "DEADLINE_S", 0.2)
        monkeypatch.setattr(drivers, "_wait_for_udev", lambda: None)
        monkeypatch.setattr(links, "look", lambda root=None: self.links())
        monkeypatch.setattr(links, "ssh_connections", lambda root=None: [])

    def load(self, driver: str) -> None:
        (self.root / "sys/bus/pci/drivers" / driver).mkdir(exist_ok=True)

    def add(
        self, address: str, driver: str | None, *, net: str = "", kind: str = "0x020000", group: str = ""
    ) -> None:
        device = self.device(address)
        device.mkdir()
        (device / "class").write_text(kind + "\n")
        (device / "driver_override").write_text("(null)\n")
        if driver:
            self.natural[address] = driver
        self.net[address] = net
        if group:
            members = self.root / "sys/kernel/iommu_groups" / group / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(device)
            (device / "iommu_group").symlink_to(members.parent)
        self.probe(address)

    def device(self, address: str) -> Path:
        return self.root / "sys/bus/pci/devices" / address

    def driver(self, address: str) -> str | None:
        return nics.driver_of(address, self.root)

    def override(self, address: str) -> str:
        return (self.device(address) / "driver_override").read_text().strip()

    def probe(self, address: str) -> None:
        override = self.override(address)
        driver = self.natural.get(address) if override == "(null)" else override
        folder = self.root / "sys/bus/pci/drivers" / str(driver)
        if driver is None or driver in self.broken or self.driver(address) or not folder.exists():
            return
        (self.device(address) / "driver").symlink_to(folder)
        (folder / "unbind").touch()
        if driver == self.natural.get(address) and self.net[address]:
            (self.device(address) / "net" / self.net[address]).mkdir(parents=True)

    def write(self, file: Path, text: str) -> None:
        self.log.append((file.name, text))
        if file.name == "driver_override":
            file.write_text((text or "(null)") + "\n")
        elif file.name == "unbind":
            device = self.device(text)
            (device / "driver").unlink()
            for one in device.glob("net/*"):
                one.rmdir()
        else:
            assert file == self.root / "sys/bus/pci/drivers_probe"
            self.probe(text)

    def links(self) -> Network:
        names = [
            name
            for address, name in self.net.items()
            if name and (self.device(address) / "net" / name).exists()
        ]
        return Network(
            links=[{"ifindex": at, "ifname": name} for at, name in enumerate(names, 1)],
            addresses=[{"ifname": name, "addr_info": self.addresses.get(name, [])} for name in names],
            routes=[{"dst": "default", "dev": self.default}],
            pci={name: address for address, name in self.net.items() if name in names},
        )
