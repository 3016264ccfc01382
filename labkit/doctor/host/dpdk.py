"""What the role dpdk promises: DPDK runs, and has the devices that it shall have."""

from __future__ import annotations

from labkit.doctor.host import members
from labkit.doctor.host.af_xdp import memlock
from labkit.doctor.host.desired import Desired
from labkit.doctor.host.installed import packages
from labkit.doctor.host.model import Broken, Kept, NotApplicable, Outcome, Promise, compare
from labkit.doctor.host.reader import HostFacts, HostReader
from labkit.doctor.host.roles import host_module
from labkit.errors import ConfigInvalid

_TO_BUILD, _TESTPMD = {"libdpdk-dev", "dpdk-devel"}, {"dpdk-dev"}
"""Packages that bring libdpdk.pc, and dpdk-testpmd."""
_DEVICES = "/sys/bus/pci/devices"
_NOIOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


def devices(desired: Desired) -> list[tuple[str, str]]:
    """PCI address as the kernel spells it, and wanted driver, of each. Raises ConfigInvalid for what is no address."""
    found = []
    for at, device in enumerate(desired["dpdk_devices"]):
        address = host_module("pci").address(str(device["pci"]))
        if address is None:
            raise ConfigInvalid(
                f"{desired.host}: dpdk_devices[{at}].pci: {device['pci']} is no PCI address",
                hint="expected one such as 0000:03:00.0 (lspci -D)",
            )
        found.append((str(address), str(device["driver"])))
    return found


def _seen(reader: HostReader, desired: Desired) -> HostFacts:
    addresses = [pci for pci, _ in devices(desired)]
    links = [f"{_DEVICES}/{pci}/{name}" for pci in addresses for name in ("driver", "iommu_group")]
    return reader.look(
        files=(_NOIOMMU, *(f"{_DEVICES}/{pci}/driver_override" for pci in addresses)),
        links=links,
        commands={"groups": "ls /sys/kernel/iommu_groups"},
    )


def _vfio(desired: Desired) -> list[str]:
    """Addresses of the devices that are for vfio."""
    return [pci for pci, driver in devices(desired) if "vfio" in driver]


def _version(reader: HostReader, desired: Desired) -> Outcome:
    names = [] if desired.text("dpdk_source_url") else [str(name) for name in desired["dpdk_packages"]]
    installed = packages(reader, names)
    if isinstance(installed, Broken):
        return installed
    parts = {part for name in names for part in name.split("|")}
    # --help ends before DPDK takes hugepages or devices, and after the linker found every library.
    said = reader.look(
        commands={"pkg-config": "pkg-config --modversion libdpdk", "testpmd": "dpdk-testpmd --help"}
    ).commands
    if (not names or parts & _TO_BUILD) and said["pkg-config"].code:
        return Broken("pkg-config knows libdpdk", (said["pkg-config"].out.splitlines() or ["no"])[0])
    if (not names or parts & _TESTPMD) and "EAL" not in said["testpmd"].out:
        return Broken("dpdk-testpmd starts", said["testpmd"].out[:200])
    if not names:
        return compare(
            [("DPDK", desired.text("dpdk_source_version"), said["pkg-config"].out)], said["pkg-config"].out
        )
    return installed


def _bound(reader: HostReader, desired: Desired) -> Outcome:
    if not desired["dpdk_devices"]:
        return NotApplicable("dpdk_devices is empty")
    seen = _seen(reader, desired)
    found = []
    for pci, wanted in devices(desired):
        found.append((pci, wanted, seen.target(f"{_DEVICES}/{pci}/driver") or "no driver"))
        # Without it the next driver that is loaded and knows the device takes it.
        override = seen.text(f"{_DEVICES}/{pci}/driver_override") or "not there"
        found.append((f"{pci} driver_override", wanted, override))
    return compare(found, ", ".join(f"{pci} {driver}" for pci, driver in devices(desired)))


def _iommu(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("dpdk_iommu")
    vfio = _vfio(desired)
    if wanted == "off" or (wanted == "auto" and not vfio):
        return NotApplicable(f"dpdk_iommu is {wanted}, and no device needs one")
    seen = _seen(reader, desired)
    noiommu = seen.text(_NOIOMMU) == "Y"
    if wanted == "noiommu":
        return Kept("vfio without an IOMMU (unsafe)") if noiommu else Broken(f"{_NOIOMMU} Y", "N")
    if noiommu:
        return Broken("vfio with an IOMMU", f"{_NOIOMMU} is Y: devices may write to any memory")
    if not seen.commands["groups"].out:
        return Broken("IOMMU groups", "none: the kernel has no IOMMU in use")
    if without := [pci for pci in vfio if seen.target(f"{_DEVICES}/{pci}/iommu_group") is None]:
        return Broken("each device in an IOMMU group", f"{', '.join(without)} in none")
    return Kept(f"{len(seen.commands['groups'].out.split())} IOMMU groups")


def _access(reader: HostReader, desired: Desired) -> Outcome:
    group = desired.text("dpdk_group")
    vfio = _vfio(desired)
    if not group or not vfio:
        return NotApplicable("dpdk_group is empty, or no device is for vfio")
    if desired.text("dpdk_iommu") == "noiommu":
        return NotApplicable("without an IOMMU the devices stay root's")
    seen = _seen(reader, desired)
    numbers = {seen.target(f"{_DEVICES}/{pci}/iommu_group") for pci in vfio} - {None}
    nodes = [f"/dev/vfio/{number}" for number in sorted(map(str, numbers))]
    commands = {
        node: members.attempt(
            " && ".join(f"test {way} {path}" for path in _either(node) for way in ("-r", "-w")),
            user="",
            group=group,
        )
        for node in nodes
    }
    said = reader.look(commands=commands).commands
    if refused := [node for node in nodes if said[node].code]:
        return Broken(f"group {group} may use {', '.join(nodes)}", f"it may not use {', '.join(refused)}")
    return Kept(f"group {group} may use {', '.join(nodes)}") if nodes else Broken("IOMMU groups", "none")


def _either(node: str) -> tuple[str, str]:
    """The group's device, and the one that opens the container."""
    return node, "/dev/vfio/vfio"


def _memlock(reader: HostReader, desired: Desired) -> Outcome:
    group = desired.text("dpdk_group") or desired.text("labkit_host_group")
    return memlock(reader, desired, "dpdk_memlock_kib", group)


PROMISES = (
    Promise(id="dpdk.version", text="DPDK is installed and starts", check=_version),
    Promise(id="dpdk.bound", text="each device has the wanted driver", check=_bound),
    Promise(
        id="dpdk.iommu",
        text="devices are kept from other memory, or it is said that they are not",
        check=_iommu,
    ),
    Promise(id="dpdk.access", text="who is in the group may use the devices, without root", check=_access),
    Promise(id="dpdk.memlock", text="a login may lock as much memory as is wanted", check=_memlock),
)
