"""Which interfaces must never be bound, detached, renamed or retuned, because the way to this host goes over them.

Pure: it is given what `ip -json` printed. Taking one too many is an error message, taking one too few a locked door,
so in doubt an interface is protected.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import pci

NO_TUNNELS = frozenset(
    (
        *("bond", "bridge", "dummy", "hsr", "ifb", "ipvlan", "ipvtap", "macsec", "macvlan", "macvtap"),
        *("netdevsim", "nlmon", "openvswitch", "team", "veth", "vlan", "vrf"),
    )
)
"""Kinds of interface whose frames leave over those that they name, or not at all.

Those of every other kind leave over another interface, which they need not name: WireGuard, tap, PPP, VXLAN ...
"""
OVS = "ovs-system"
"""Master of all ports of the kernel's Open vSwitch."""


class WayUnknown(Exception):
    """The host is reached over the network, but not over any interface that is seen: nothing may be touched then."""


@dataclass(frozen=True)
class Connection:
    """An SSH connection that leads to us."""

    own: str
    """Our own end's address."""
    peer: str
    """The other end's: answers go there, maybe over another interface than that of our address."""


@dataclass(frozen=True)
class Network:
    """What this host's network looks like."""

    links: Sequence[Mapping[str, Any]]
    """`ip -json -details link`."""
    addresses: Sequence[Mapping[str, Any]]
    """`ip -json address`."""
    routes: Sequence[Mapping[str, Any]]
    """`ip -json -4 route show table all` and the same with -6."""
    nexthops: Sequence[Mapping[str, Any]] = ()
    """`ip -json nexthop`."""
    pci: Mapping[str, str] = field(default_factory=dict)
    """Interface to the PCI address of its device."""
    physical_function: Mapping[str, str] = field(default_factory=dict)
    """Interface on an SR-IOV virtual function to the PCI address of the physical one."""


def protected(
    network: Network, *, ssh: Iterable[Connection], over_ssh: bool, management: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Protected interfaces, each with the reasons.

    `ssh` are the SSH connections that lead here, `over_ssh` says that there must be one. `management` names interfaces
    in any way that `named` knows. Raises WayUnknown.
    """
    reasons: dict[str, list[str]] = {}

    def protect(name: str, reason: str) -> None:
        found = reasons.setdefault(name, [])
        if reason not in found:
            found.append(reason)

    found = False
    for text in management:
        names = named(network, text)
        if not names:
            raise WayUnknown(
                f"labkit_host_management_interfaces names {text}, and no interface here has that name, alternative "
                "name, alias or PCI address: nothing is touched. Correct the name, or take it out of this host's list."
            )
        for name in names:
            protect(name, "named in labkit_host_management_interfaces")
        found = True
    carriers = _carriers(network)
    for connection in ssh:
        if _plain(connection.own).is_loopback:
            for name in carriers:
                protect(name, f"it may carry the tunnel whose end is the SSH connection to {connection.own}")
                found = True
            continue
        for name in _holders(network.addresses, connection.own):
            protect(name, f"it carries the SSH connection to {connection.own}")
            found = True
        for name in _towards(network, connection.peer):
            protect(name, f"answers to the SSH connection from {connection.peer} may leave over it")
    if over_ssh and not found:
        raise WayUnknown(
            "this host was reached over SSH, but no interface here has the address that it came in at: nothing is "
            "touched. Name the interface in labkit_host_management_interfaces if it is another one (NAT, a namespace)."
        )
    for name in default_route_interfaces(network.routes, network.nexthops):
        protect(name, "the default route goes over it")
    kin = _kin(network)
    tunnels = _tunnels(network)
    pending = list(reasons)
    while pending:
        name = pending.pop()
        for other in tunnels.get(name, ()):
            if other not in reasons:
                pending.append(other)
                protect(other, "it may carry the tunnel that is the way to this host")
        for other, how in kin.get(name, ()):
            if other not in reasons:
                pending.append(other)
                protect(other, f"{how} {name}, which is protected: {reasons[name][0]}")
    return reasons


def named(network: Network, text: str) -> list[str]:
    """Interfaces that `text` names: by name, alternative name, alias, or PCI address in any spelling."""
    address = pci.address(text)
    return [
        link["ifname"]
        for link in network.links
        if text in (link["ifname"], link.get("ifalias"), *link.get("altnames", ()))
        or (address is not None and network.pci.get(link["ifname"]) == address)
    ]


def default_route_interfaces(
    routes: Iterable[Mapping[str, Any]], nexthops: Iterable[Mapping[str, Any]] = ()
) -> list[str]:
    """Interfaces of every default route in every table, also the paths of a multipath one."""
    hops = list(nexthops)
    names = [
        name for route in routes if _is_default(str(route.get("dst", ""))) for name in _paths(route, hops)
    ]
    return list(dict.fromkeys(names))


def _paths(route: Mapping[str, Any], nexthops: Iterable[Mapping[str, Any]]) -> list[str]:
    """Interfaces of one route, also of a multipath one and of nexthop objects and their groups."""
    by_id = {hop["id"]: hop for hop in nexthops}

    def of_hop(number: int, seen: frozenset[int] = frozenset()) -> list[str]:
        hop = by_id.get(number, {})
        own = [hop["dev"]] if "dev" in hop else []
        members = [member["id"] for member in hop.get("group", ()) if member["id"] not in seen]
        return own + [name for member in members for name in of_hop(member, seen | {number})]

    return [
        *([route["dev"]] if "dev" in route else []),
        *(path["dev"] for path in route.get("nexthops", ()) if "dev" in path),
        *(of_hop(route["nhid"]) if "nhid" in route else []),
    ]


def _towards(network: Network, peer: str) -> list[str]:
    """Interfaces of the closest routes to an address: those of every table, since rules may choose any."""
    address = _plain(peer)
    zone = peer.partition("%")[2]
    if any(zone == link["ifname"] for link in network.links):
        return [zone]  # every interface has a route to its own neighbours
    closest: dict[str, int] = {}
    found: list[tuple[str, int, list[str]]] = []
    for route in network.routes:
        destination = str(route.get("dst", ""))
        if destination == "default":
            destination = "0.0.0.0/0" if address.version == 4 else "::/0"
        try:
            net = ipaddress.ip_network(destination, strict=False)
        except ValueError:
            continue
        if net.version == address.version and address in net:
            table = str(route.get("table", "main"))
            closest[table] = max(closest.get(table, 0), net.prefixlen)
            found.append((table, net.prefixlen, _paths(route, network.nexthops)))
    return [name for table, length, paths in found if length == closest[table] for name in paths]


def _tunnels(network: Network) -> dict[str, list[str]]:
    """Tunnel to the interfaces that may carry it, which the kernel does not report: all with a routed address.

    A WireGuard or OpenVPN tunnel is in no relation to the NIC below it: in doubt every NIC may carry it. PPP and a tap
    (a switch in user space) take frames from NICs that need no address. But a tap in a bridge is a guest's.
    """
    carriers = _carriers(network)
    running = [
        link["ifname"]
        for link in network.links
        if link["ifname"] in network.pci and "UP" in link.get("flags", ())
    ]
    tunnels = {}
    for link in network.links:
        information = link.get("linkinfo", {})
        kind = information.get("info_kind")
        if not kind or kind in NO_TUNNELS or _lower(link) or (kind == "tun" and link.get("master")):
            continue
        of_frames = kind == "ppp" or (kind == "tun" and information.get("info_data", {}).get("type") != "tun")
        tunnels[link["ifname"]] = [*carriers, *(running if of_frames else ())]
    return tunnels


def _carriers(network: Network) -> list[str]:
    """Interfaces with an address that others reach."""
    return [
        link["ifname"]
        for link in network.addresses
        if any(
            not (address.is_loopback or address.is_link_local)
            for one in link.get("addr_info", ())
            if "local" in one
            for address in [_plain(one["local"])]
        )
    ]


def _lower(link: Mapping[str, Any]) -> str | None:
    """What a tunnel says that it goes over."""
    lower: str | None = link.get("link") or link.get("linkinfo", {}).get("info_data", {}).get("link")
    return lower


def _is_default(destination: str) -> bool:
    """Also halves that VPNs put over the default route (0.0.0.0/1 and 128.0.0.0/1), and 2000::/3."""
    if destination == "default":
        return True
    try:
        net = ipaddress.ip_network(destination, strict=False)
    except ValueError:
        return False
    return net.prefixlen <= 3


def _holders(addresses: Iterable[Mapping[str, Any]], wanted: str) -> list[str]:
    address = _plain(wanted)
    return [
        link["ifname"]
        for link in addresses
        for one in link.get("addr_info", ())
        if "local" in one and _plain(one["local"]) == address
    ]


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Without the zone, and IPv4 as such where it came mapped into IPv6 (::ffff:192.0.2.1)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _kin(network: Network) -> dict[str, list[tuple[str, str]]]:
    """Interface to those that fall with it, or that it falls with: (other, how `other` relates to it)."""
    kin: dict[str, list[tuple[str, str]]] = {}

    def tie(upper: str, lower: str, upper_is: str, lower_is: str) -> None:
        kin.setdefault(lower, []).append((upper, upper_is))
        kin.setdefault(upper, []).append((lower, lower_is))

    by_index = {link["ifindex"]: link["ifname"] for link in network.links if "ifindex" in link}
    for link in network.links:
        name = link["ifname"]
        if link.get("master"):
            tie(link["master"], name, "it is the bond, bridge or VRF over", "it is a member of")
        lower = link.get("link")
        if lower is None and "link_netnsid" not in link:
            lower = by_index.get(link.get("link_index"))
        if lower and lower != name and "link_netnsid" not in link:
            tie(name, lower, "it is stacked on", "it is the parent of")
        data = link.get("linkinfo", {}).get("info_data", {})
        for slave in (data[one] for one in ("slave1", "slave2") if data.get(one)):
            tie(name, slave, "it is the HSR ring over", "it is a port of")
        over = data.get("link")
        if over and over != lower:  # tunnels name the interface that carries them here
            tie(name, over, "it is a tunnel over", "it carries")
    for name in _of_kind(network, "openvswitch"):
        if name != OVS:  # its bridges don't show which of them a port is in, so they are taken together
            tie(name, OVS, "it is in the Open vSwitch", "it switches for")
    for name, address in network.pci.items():
        for other, same in network.pci.items():
            if other != name and same == address:
                kin.setdefault(name, []).append((other, f"it is on the same PCI device {address} as"))
            if network.physical_function.get(name) == same:
                kin.setdefault(name, []).append((other, f"it is the physical function {same} of"))
    return kin


def _of_kind(network: Network, kind: str) -> list[str]:
    return [link["ifname"] for link in network.links if link.get("linkinfo", {}).get("info_kind") == kind]
