"""Interfaces that are there already: found, set up for a lab, and read back. Every change is in the journal first.

All of it is about the network namespace that the calling thread is in, on the machine that the interfaces belong to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab.links.veth import GRO, INTERFACE_SYSCTLS, IPV6_DISABLED, OFFLOADS, link_facts
from labkit.lab.topology import Link, Port, Role
from labkit.machine import nic_driver
from labkit.machine.cores import parse_list
from labkit.machine.interface import PRESENT, InterfaceTunable, LinkLocalTunable, features_of
from labkit.machine.journal import Journal
from labkit.machine.netlink import Netlink, rtnetlink
from labkit.machine.tunables import FileTunable, Tunable, turn

Ports = Mapping[Role, Sequence[Mapping[str, str]]]
"""By role, in the order of the links: interface, mac and pci of each port as it was found."""
CARRIER_S = 15.0
"""Autonegotiation and link training of a NIC take a few seconds."""
LRO = "rx-lro"
VLAN_PARSE = ("rx-vlan-hw-parse", "rx-vlan-stag-hw-parse")
"""Takes a tag off, and hands it on beside the frame, where XDP does not see it."""
VLAN_OFFLOADS = (
    *VLAN_PARSE,
    *("tx-vlan-hw-insert", "tx-vlan-stag-hw-insert", "rx-vlan-filter", "rx-vlan-stag-filter"),
)
FORWARDING_SYSCTLS: Mapping[str, str] = {
    "ipv4/conf/{}/forwarding": "1",
    "ipv6/conf/{}/forwarding": "1",
    # From Linux 6.17 on. Before, the kernel forwards no IPv6 unless the whole host does (conf/all/forwarding).
    "ipv6/conf/{}/force_forwarding": "1",
}
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_NET = Path("/sys/class/net")
_SYSCTL = Path("/proc/sys/net")


def find(port: Port) -> Port:
    """The port with its interface and MAC address as they are here. Raises EnvironmentBroken where there is none."""
    with rtnetlink() as netlink:
        fitting = [link for link in netlink.get_links() if _is(port, link)]
    if not fitting:
        raise EnvironmentBroken(
            f"there is no interface {_named(port)} here", hint="ip -details link shows them"
        )
    if len(fitting) > 1:
        names = ", ".join(link.get_attr("IFLA_IFNAME") for link in fitting)
        raise ConfigInvalid(f"several interfaces are {_named(port)}: {names}", hint="name it by interface:")
    (link,) = fitting
    name = link.get_attr("IFLA_IFNAME")
    if link.get_attr("IFLA_MASTER") is not None:
        raise EnvironmentBroken(
            f"{name} belongs to a bond, a bridge or a VRF", hint="take it out, or choose another interface"
        )
    return replace(port, interface=name, mac=link.get_attr("IFLA_ADDRESS"), pci=_pci(name) or port.pci)


def _is(port: Port, link: Mapping[str, Any]) -> bool:
    name = link.get_attr("IFLA_IFNAME")  # type: ignore[attr-defined]
    wanted = (port.interface, port.mac, port.pci)
    found = (name, link.get_attr("IFLA_ADDRESS"), _pci(name) if port.pci else "")  # type: ignore[attr-defined]
    return all(not asked or asked == got for asked, got in zip(wanted, found, strict=True))


def _named(port: Port) -> str:
    ways = (("named", port.interface), ("with MAC address", port.mac), ("on PCI device", port.pci))
    return " ".join(f"{how} {value}" for how, value in ways if value)


def _pci(interface: str) -> str | None:
    """The PCI address under it, of a virtio NIC that of its transport; None where there is none."""
    device = _NET / interface / "device"
    parts = reversed(device.resolve().parts) if device.exists() else ()
    return next((part for part in parts if _PCI.fullmatch(part)), None)


def with_ports(links: Iterable[Link], ports: Ports) -> tuple[Link, ...]:
    """The links with their interfaces and MAC addresses."""

    def found(port: Port, as_found: Mapping[str, str]) -> Port:
        return replace(
            port, interface=as_found["interface"], mac=as_found["mac"], pci=as_found["pci"] or port.pci
        )

    return tuple(
        replace(link, tester=found(link.tester, ports["tester"][i]), dut=found(link.dut, ports["dut"][i]))
        for i, link in enumerate(links)
    )


def wire(
    role: Role, links: Iterable[Link], *, forwards: bool, tagged: bool | None, journal: Journal, lab: str
) -> None:
    """Set the role's ends up: MTU, addresses, static neighbours, no traffic of the kernel's own.

    `forwards`: the kernel forwards what comes in at these ports. No setting of the whole host is changed (such as IP
    forwarding by all interfaces): others may live by it. The ports have their interfaces and MAC addresses (`find`).
    `tagged`: frames have VLAN tags (None: they may), which a NIC is to leave in them. Raises EnvironmentBroken where
    the kernel refuses, or a NIC can't do that for frames that have them.
    """
    links = tuple(links)

    def set_to(tunable: Tunable, value: str) -> None:
        if tunable.read() != value:
            turn(tunable, value, journal=journal, lab=lab)

    def sysctls(values: Mapping[str, str]) -> None:
        for key, value in values.items():
            if (_SYSCTL / key).exists():  # a kernel without IPv6, or without this setting
                set_to(FileTunable(_SYSCTL / key), value)

    for link in links:
        port, peer = link.ends(role)
        name = port.interface
        set_to(InterfaceTunable(name, "mtu"), str(link.mtu_bytes))
        own = LinkLocalTunable(name)
        journal.begin(lab=lab, tunable=own.describe(), old=own.read(), new="as the kernel makes them")
        sysctls({key.format(name): value for key, value in INTERFACE_SYSCTLS.items()})
        if port.ipv6 is not None:
            sysctls({IPV6_DISABLED.format(name): "0"})
        offloads = _offloads(name, role)
        if forwards:
            offloads |= _able(name, {LRO: "off"})  # the kernel does so, and would not put it back
        if tagged is not False:
            offloads |= _tags_untouched(name, must=bool(tagged))
        for feature, value in offloads.items():
            set_to(InterfaceTunable(name, "feature", feature), value)
        # Frames for a path that bypasses the kernel carry a foreign address, so that the kernel ignores its copies.
        set_to(InterfaceTunable(name, "promiscuous"), "on")
        set_to(InterfaceTunable(name, "state"), "up")
        for address in (port.ipv4, port.ipv6):
            if address is not None:
                set_to(InterfaceTunable(name, "address", str(address)), PRESENT)
        for address in (peer.ipv4, peer.ipv6):
            if address is not None:
                set_to(InterfaceTunable(name, "neighbour", str(address.ip)), peer.mac)
        if forwards:
            sysctls({key.format(name): value for key, value in FORWARDING_SYSCTLS.items()})


def wait_for_carrier(interface: str, *, deadline_s: float = CARRIER_S) -> None:
    """Wait until the link is there: a NIC that was down takes seconds. Raises EnvironmentBroken."""
    carrier = _NET / interface / "carrier"
    end = time.monotonic() + deadline_s
    while carrier.read_text().strip() != "1":
        if time.monotonic() > end:
            raise EnvironmentBroken(
                f"{interface} has no carrier {deadline_s:g} s after it was set up",
                hint="check the cable, and the interface at its other end",
            )
        time.sleep(0.01)


def read_back(port: Port) -> dict[str, object]:
    """One end as the kernel has it: driver, firmware, speed, PCIe, MTU, addresses, neighbours, queues, offloads."""
    driver, pause = nic_driver.driver(port.interface), nic_driver.pause(port.interface)
    return {
        "interface": port.interface,
        "driver": driver.name if driver else None,
        "driver_version": driver.version or None if driver else None,
        "firmware": driver.firmware or None if driver else None,
        "pci": port.pci or None,
        "pause": {"receive": pause.receive, "send": pause.send} if pause else None,
        **_hardware(port.interface),
        **link_facts(port.interface),
    }


def _hardware(interface: str) -> dict[str, object]:
    """Speed, duplex, cores of its NUMA node, and PCIe: None where the kernel reports none."""
    folder = _NET / interface
    device = folder / "device"
    speed = _text(folder / "speed")
    local = _text(device / "local_cpulist")
    return {
        "speed_mbps": int(speed) if speed and int(speed) > 0 else None,  # -1: unknown, as of virtio
        "duplex": found if (found := _text(folder / "duplex")) in ("full", "half") else None,
        "local_cores": sorted(parse_list(local)) if local else None,
        "pcie": _pcie(device, "current"),
        "pcie_max": _pcie(device, "max"),
    }


def _pcie(device: Path, which: str) -> str | None:
    """Speed and lanes, such as "8.0 GT/s x4"."""
    speed, lanes = (_text(device / f"{which}_link_{what}") for what in ("speed", "width"))
    if not speed or not lanes or lanes == "0" or "Unknown" in speed:
        return None
    return f"{speed.removesuffix(' PCIe')} x{lanes}"


def _text(path: Path) -> str | None:
    """A file of /sys; None where there is none, or the driver cannot say."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _able(interface: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Those offloads of `wanted` that the interface has and lets be changed."""
    features = features_of(interface)
    return {name: value for name, value in wanted.items() if features.get(name, (False, False))[1]}


def _tags_untouched(interface: str, *, must: bool) -> dict[str, str]:
    """Offloads by which VLAN tags stay in frames. Raises EnvironmentBroken where one is on for good and they `must`."""
    features = features_of(interface)
    fixed = [name for name in VLAN_PARSE if features.get(name) == (True, False)]
    if fixed and must:
        raise EnvironmentBroken(
            f"{interface} takes VLAN tags out of frames ({', '.join(fixed)}), which cannot be switched off",
            hint="measure without vlans, or on another NIC",
        )
    return _able(interface, dict.fromkeys(VLAN_OFFLOADS, "off"))


def _offloads(interface: str, role: Role) -> dict[str, str]:
    """A NIC's stay as they are. Those of a veth that stands for one leave frames unfinished: see `links.veth`."""
    with rtnetlink() as netlink:
        if _kind(netlink, interface) != "veth":
            return {}
    able = {name for name, (_, changeable) in features_of(interface).items() if changeable}
    off = {name: "off" for name in able if OFFLOADS.fullmatch(name)}
    return {**off, **({GRO: "on"} if role == "tester" and GRO in able else {})}


def _kind(netlink: Netlink, interface: str) -> str | None:
    index = netlink.link_lookup(ifname=interface)[0]
    information = next(iter(netlink.get_links(index))).get_attr("IFLA_LINKINFO")
    kind: str | None = information.get_attr("IFLA_INFO_KIND") if information else None
    return kind
