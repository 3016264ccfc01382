"""The driver of a NIC on a PCI bus, for the time of a lab: vfio-pci, so that a program of user space drives it.

By the code of the Ansible role dpdk, which refuses what could not be given back.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from labkit.errors import EnvironmentBroken
from labkit.machine import nic_settings
from labkit.machine.journal import Journal
from labkit.machine.roles import host_module

VFIO = "vfio-pci"
NO_DRIVER = "none"
BY_KERNEL = "the kernel's"
"""Whatever driver the kernel gives to a NIC."""
_ROOT = Path("/")
_LET_GO_S = 5.0
"""How long a program that is just ending may keep the device open."""


def check(address: str, *, together: Collection[str]) -> None:
    """Raise EnvironmentBroken where the NIC is not to be bound to vfio-pci, or a program could not open it there.

    `together` are the NICs that are bound with it. Interfaces that the way to this host needs, addresses, routes, what
    is stacked on it, virtual functions, its IOMMU group: see the role dpdk.
    """
    links, nics = host_module("links"), host_module("nics")
    why = missing()
    try:
        interfaces = links.interfaces(over_ssh=any(links.ssh_connections()), management=[])
    except host_module("protected").WayUnknown as error:
        raise EnvironmentBroken(str(error)) from error
    found = [
        *([why] if why else []),
        *nics.problems(address, interfaces, _ROOT),
        *nics.losses(address, VFIO, interfaces, _ROOT),
        *host_module("iommu").problems(address, together=together, noiommu=unsafe(), root=_ROOT),
    ]
    if found:
        raise EnvironmentBroken("; ".join(found), hint="the role dpdk prepares a host for vfio-pci")


def missing() -> str | None:
    """Why the kernel has no vfio-pci; None: it has."""
    why: str | None = host_module("drivers").missing(VFIO, _ROOT)
    return why


def unsafe() -> bool:
    """Whether this host allows vfio without an IOMMU."""
    file: Path = _ROOT / host_module("iommu").UNSAFE
    return file.exists() and file.read_text().strip() == "Y"


def is_on_vfio(address: str) -> bool:
    """Whether a NIC is bound to vfio-pci, or a variant of it: the role dpdk does so for good."""
    driver = host_module("nics").driver_of(address, _ROOT)
    return bool(host_module("iommu").is_vfio(driver))


def to_kernel(address: str, *, journal: Journal, lab: str) -> None:
    """Give a NIC on vfio-pci to the kernel, for the time of a lab. Raises EnvironmentBroken."""
    drivers = host_module("drivers")
    tunable = PciDriverTunable.of(address)
    entry = journal.begin(lab=lab, tunable=tunable.describe(), old=tunable.read(), new=BY_KERNEL)
    try:
        drivers.to_kernel(address, _ROOT)
    except drivers.DriverRefused as error:
        tunable.restore(entry.old, entry.new)
        journal.end(entry)
        raise EnvironmentBroken(str(error)) from error


@dataclass(frozen=True, slots=True)
class PciDriverTunable:
    """Which driver a NIC has. With it come what it was and had before, which `restore` gives back."""

    kind: ClassVar[str] = "driver"
    pci: str
    before: Mapping[str, Any]
    """binding (driver, override, interfaces), card, and the settings of each interface: JSON values."""

    @classmethod
    def of(cls, pci: str) -> Self:
        """The NIC as it is now. Raises OSError where there is none at this address."""
        drivers, nics = host_module("drivers"), host_module("nics")
        binding = drivers.look(pci, _ROOT)
        return cls(
            pci,
            {
                "binding": asdict(binding),
                "card": nics.card(pci, _ROOT),
                "settings": {name: nic_settings.capture(name) for name in binding.interfaces},
            },
        )

    def describe(self) -> dict[str, Any]:
        """See Tunable."""
        return {"kind": self.kind, "pci": self.pci, "before": self.before}

    def read(self) -> str:
        """See Tunable."""
        return host_module("nics").driver_of(self.pci, _ROOT) or NO_DRIVER

    def write(self, value: str) -> None:
        """See Tunable. Raises EnvironmentBroken where the kernel refuses."""
        drivers = host_module("drivers")
        try:
            drivers.load(value, _ROOT, check=False)
            drivers.bind(self.pci, value, value, _ROOT)
        except drivers.DriverRefused as error:
            raise EnvironmentBroken(str(error)) from error

    def restore(self, old: str, new: str) -> str | None:
        """See Tunable. Its interfaces come back with their names and settings.

        Raises EnvironmentBroken where the NIC can't be bound back now.
        """
        drivers, nics = host_module("drivers"), host_module("nics")
        if not nics.folder(self.pci, _ROOT).exists():
            return None
        if moved := nics.another_card(self.before["card"], self.pci, _ROOT):
            return f"{moved}: left alone"
        binding = drivers.Binding(**self.before["binding"])
        now = drivers.look(self.pci, _ROOT)
        if new != BY_KERNEL and now.driver not in (binding.driver, new, None):
            return f"{self.pci} was bound to {new} by labkit and is bound to {now.driver} now: by another program"
        if (now.driver, now.override) != (binding.driver, binding.override):
            try:
                self._bind_back(binding)
            except (drivers.DriverRefused, host_module("protected").WayUnknown) as error:
                # Raised, so that the journal keeps it: what prevents it may end, and `labkit down` tries again.
                raise EnvironmentBroken(str(error)) from error
        # Also where the driver was back: whoever bound it may have been killed before this.
        left = [
            one
            for name, settings in self.before["settings"].items()
            for one in nic_settings.put_back(name, settings)
        ]
        return "; ".join(left) or None

    def _bind_back(self, binding: Any) -> None:  # noqa: ANN401 (drivers.Binding of the collection)
        """Bind it as it was. Raises DriverRefused and WayUnknown."""
        drivers, links = host_module("drivers"), host_module("links")
        self._let_go()
        over_ssh = any(links.ssh_connections())
        for interface in links.interfaces(over_ssh=over_ssh, management=[], root=_ROOT):
            if interface.pci == self.pci and interface.protected:
                raise drivers.DriverRefused(
                    f"the way to this host goes over {interface.name}: {'; '.join(interface.protected)}"
                )
        if binding.driver:
            drivers.load(binding.driver, _ROOT, check=False)
        drivers.put_back(self.pci, binding, _ROOT)

    def _let_go(self) -> None:
        """Wait for the end of programs that have it open: they may be ending just now."""
        end = time.monotonic() + _LET_GO_S
        while host_module("iommu").users(self.pci, _ROOT) and time.monotonic() < end:
            time.sleep(0.05)
