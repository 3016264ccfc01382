"""Host checks of the role dpdk: DPDK starts, and its devices have the configured drivers."""

from __future__ import annotations

from labkit.doctor.host import members
from labkit.doctor.host.af_xdp import memlock
from labkit.doctor.host.desired import Desired
from labkit.doctor.host.installed import packages
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed, compare
from labkit.doctor.host.reader import HostFacts, HostReader
from labkit.errors import ConfigInvalid
from labkit.machine.roles import host_module

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


def _facts(reader: HostReader, desired: Desired) -> HostFacts:
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
    if isinstance(installed, Failed):
        return installed
    parts = {part for name in names for part in name.split("|")}
    # --help ends before DPDK takes hugepages or devices, and after the linker found every library.
    results = reader.look(
        commands={"pkg-config": "pkg-config --modversion libdpdk", "testpmd": "dpdk-testpmd --help"}
    ).commands
    if (not names or parts & _TO_BUILD) and results["pkg-config"].code:
        return Failed("pkg-config finds libdpdk", (results["pkg-config"].out.splitlines() or ["no"])[0])
    if (not names or parts & _TESTPMD) and "EAL" not in results["testpmd"].out:
        return Failed("dpdk-testpmd starts", results["testpmd"].out[:200])
    if not names:
        return compare(
            [("DPDK", desired.text("dpdk_source_version"), results["pkg-config"].out)],
            results["pkg-config"].out,
        )
    return installed


def _bound(reader: HostReader, desired: Desired) -> Outcome:
    if not desired["dpdk_devices"]:
        return NotApplicable("dpdk_devices is empty")
    facts = _facts(reader, desired)
    found = []
    for pci, wanted in devices(desired):
        found.append((pci, wanted, facts.target(f"{_DEVICES}/{pci}/driver") or "no driver"))
        # Without it the next driver that is loaded and knows the device takes it.
        override = facts.text(f"{_DEVICES}/{pci}/driver_override") or "missing"
        found.append((f"{pci} driver_override", wanted, override))
    return compare(found, ", ".join(f"{pci} {driver}" for pci, driver in devices(desired)))


def _iommu(reader: HostReader, desired: Desired) -> Outcome:
    wanted = desired.text("dpdk_iommu")
    vfio = _vfio(desired)
    if wanted == "off" or (wanted == "auto" and not vfio):
        return NotApplicable(f"dpdk_iommu is {wanted}, and no device needs one")
    facts = _facts(reader, desired)
    noiommu = facts.text(_NOIOMMU) == "Y"
    if wanted == "noiommu":
        return Passed("vfio without an IOMMU (unsafe)") if noiommu else Failed(f"{_NOIOMMU} Y", "N")
    if noiommu:
        return Failed("vfio with an IOMMU", f"{_NOIOMMU} is Y: devices may write to any memory")
    if not facts.commands["groups"].out:
        return Failed("IOMMU groups", "none: the kernel has no IOMMU in use")
    if without := [pci for pci in vfio if facts.target(f"{_DEVICES}/{pci}/iommu_group") is None]:
        return Failed("each device in an IOMMU group", f"{', '.join(without)} in none")
    return Passed(f"{len(facts.commands['groups'].out.split())} IOMMU groups")


def _access(reader: HostReader, desired: Desired) -> Outcome:
    group = desired.text("dpdk_group")
    vfio = _vfio(desired)
    if not group or not vfio:
        return NotApplicable("dpdk_group is empty, or no device is for vfio")
    if desired.text("dpdk_iommu") == "noiommu":
        return NotApplicable("without an IOMMU only root can use the devices")
    facts = _facts(reader, desired)
    numbers = {facts.target(f"{_DEVICES}/{pci}/iommu_group") for pci in vfio} - {None}
    nodes = [f"/dev/vfio/{number}" for number in sorted(map(str, numbers))]
    commands = {
        node: members.attempt(
            " && ".join(f"test {way} {path}" for path in _either(node) for way in ("-r", "-w")),
            user="",
            group=group,
        )
        for node in nodes
    }
    results = reader.look(commands=commands).commands
    if refused := [node for node in nodes if results[node].code]:
        return Failed(f"group {group} may use {', '.join(nodes)}", f"it may not use {', '.join(refused)}")
    return Passed(f"group {group} may use {', '.join(nodes)}") if nodes else Failed("IOMMU groups", "none")


def _either(node: str) -> tuple[str, str]:
    """The group's device, and the one that opens the container."""
    return node, "/dev/vfio/vfio"


def _memlock(reader: HostReader, desired: Desired) -> Outcome:
    group = desired.text("dpdk_group") or desired.text("labkit_host_group")
    return memlock(reader, desired, "dpdk_memlock_kib", group)


HOST_CHECKS = (
    HostCheck(id="dpdk.version", text="DPDK is installed and starts", check=_version),
    HostCheck(id="dpdk.bound", text="each device is bound to the configured driver", check=_bound),
    HostCheck(
        id="dpdk.iommu",
        text="an IOMMU isolates the devices, unless noiommu is configured",
        check=_iommu,
    ),
    HostCheck(id="dpdk.access", text="members of the group can use the devices, without root", check=_access),
    HostCheck(
        id="dpdk.memlock", text="a login session has the configured limit of locked memory", check=_memlock
    ),
)
