"""The links of a topology file: each key checked by itself, then against the others."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface
from typing import Final

from labkit.errors import ConfigInvalid, Mistakes
from labkit.lab.topology import DEFAULT_NAPI, NO_PORT, Link, LinkKind, Napi, Port, Tier
from labkit.units import Unit, parse_quantity
from labkit.yamlfile import Node

TEST_NETWORKS: Final = (IPv4Network("198.18.0.0/15"), IPv6Network("2001:2::/48"))
"""Set aside for benchmarking (RFC 2544 C.2.2, RFC 5180 8): software labs use no others."""

_MTU_LOW, _MTU_IPV6_LOW = 68, 1280
_MTU_HIGH: Final = {"veth": 9202, "nic": 9202, "vhost": 2034, "memif": 2034}
"""On interfaces the probe's largest frame less the Ethernet header; shared memory: one mbuf (2048 bytes) a frame."""
_RING: Final = (64, 4096)


def read_links(node: Node, tier: Tier, mistakes: Mistakes) -> tuple[Link, ...]:
    """The links of a lab on wires. Wrong keys are noted in `mistakes`; raises ConfigInvalid."""
    seen, items, found = _Unique(), list(node.items()), list[Link]()
    for item in items:
        with mistakes.noted():
            found.append(_link(item, tier, seen, mistakes))
    links = tuple(found)
    if len(items) not in (1, 2):
        node.fail(
            f"expected one link (the DUT reflects) or two (it forwards from the first to the second), got {len(items)}"
        )
    if len({link.kind for link in links} - {LinkKind.SIM}) > 1:
        node.fail(
            f"expected links of one kind, got {' and '.join(link.kind for link in links)}",
            hint="one datapath moves the frames of all links: make both the same kind",
        )
    return links


def _link(node: Node, tier: Tier, seen: _Unique, mistakes: Mistakes) -> Link:
    optional = ("mtu", "ring", "hugepages", "memory", "napi")
    keys = node.mapping(required=("name", "kind", "tester", "dut"), optional=optional)
    kind: LinkKind | None = None
    name, mtu, ring, memory, hugepages, napi = "", 1500, 1024, 512 << 20, True, DEFAULT_NAPI
    with mistakes.noted():
        kind = LinkKind(keys["kind"].one_of([k for k in LinkKind if k is not LinkKind.SIM]))
    memory_keys = ("ring", "hugepages", "memory")
    foreign = {LinkKind.VETH: memory_keys, LinkKind.NIC: (*memory_keys, "napi"), None: ()}
    for key in foreign.get(kind, ("napi",)):
        with mistakes.noted():
            if key in keys:
                keys.pop(key).fail(
                    f"a {kind} link has no {key!r}", hint="remove the key, or choose another kind of link"
                )
    with mistakes.noted():
        name = seen.check(keys["name"], "link name", word(keys["name"], 15))
    tester = dut = NO_PORT
    with mistakes.noted():
        tester = _port(keys["tester"], f"{name}-tester", kind, tier, seen, mistakes)
    with mistakes.noted():
        dut = _port(keys["dut"], f"{name}-dut", kind, tier, seen, mistakes)
    with mistakes.noted():
        mtu = _mtu(keys["mtu"], kind, ipv6=bool(tester.ipv6 or dut.ipv6)) if "mtu" in keys else mtu
    for family in ("ipv4", "ipv6"):
        ends = getattr(tester, family), getattr(dut, family)
        with mistakes.noted():
            if None not in ends and ends[0].network != ends[1].network:
                keys["dut"].fail(
                    f"expected an {family} address in the tester's network {ends[0].network}, got {ends[1]}"
                )
    with mistakes.noted():
        ring = keys["ring"].integer(*_RING) if "ring" in keys else ring
        if ring & (ring - 1):
            keys["ring"].fail(f"expected a power of two, got {ring}")
    with mistakes.noted():
        hugepages = keys["hugepages"].boolean() if "hugepages" in keys else hugepages
    with mistakes.noted():
        memory = _bytes(keys["memory"]) if "memory" in keys else memory
    with mistakes.noted():
        napi = Napi(keys["napi"].one_of(list(Napi))) if "napi" in keys else napi
    shared = kind is not None and not kind.has_interfaces
    return Link(
        name=name,
        kind=kind or LinkKind.SIM,
        mtu_bytes=mtu,
        tester=tester,
        dut=dut,
        ring_frames=ring if shared else 0,
        hugepages=shared and hugepages,
        memory_bytes=memory if shared else 0,
        napi=napi,
    )


def _mtu(node: Node, kind: LinkKind | None, *, ipv6: bool) -> int:
    # Below IPv6's smallest MTU the kernel takes all IPv6 addresses of an interface away, also those that a NIC had.
    mtu, low = _bytes(node), _MTU_IPV6_LOW if ipv6 or kind is LinkKind.NIC else _MTU_LOW
    if kind is not None and not low <= mtu <= _MTU_HIGH[kind]:
        node.fail(
            f"expected an MTU from {low} B to {_MTU_HIGH[kind]} B on a {kind} link, got {mtu} B",
            hint="a 1518-byte frame needs an MTU of 1500 B"
            + (", IPv6 at least 1280 B" if low > _MTU_LOW else ""),
        )
    return mtu


def _port(
    node: Node, called: str, kind: LinkKind | None, tier: Tier, seen: _Unique, mistakes: Mistakes
) -> Port:
    nic = kind is LinkKind.NIC
    required, way = ((), ("interface", "mac", "pci")) if nic else (("name", "mac"), ())
    keys = node.mapping(required=required, optional=("ipv4", "ipv6", *way))
    name, mac, interface, address = called if nic else "", "", "", ""
    v4 = v6 = None
    with mistakes.noted():
        if not {"ipv4", "ipv6"} & keys.keys():
            node.fail("expected an ipv4 address, an ipv6 address or both", hint="such as ipv4: 198.18.0.1/24")
    with mistakes.noted():
        if nic and not set(way) & keys.keys():
            node.fail("expected the NIC's interface, mac or pci", hint="such as interface: enp1s0f0")
    with mistakes.noted():
        if not nic:
            longest = 15 if kind is LinkKind.VETH else 31
            name = seen.check(keys["name"], "port name", word(keys["name"], longest))
    with mistakes.noted():
        interface = _interface(keys["interface"]) if "interface" in keys else ""
    with mistakes.noted():
        address = _pci(keys["pci"]) if "pci" in keys else ""
    with mistakes.noted():
        mac = seen.check(keys["mac"], "MAC address", _mac(keys["mac"])) if "mac" in keys else ""
    with mistakes.noted():
        v4 = _address(keys["ipv4"], 4, tier, seen) if "ipv4" in keys else None
    with mistakes.noted():
        v6 = _address(keys["ipv6"], 6, tier, seen) if "ipv6" in keys else None
    assert v4 is None or isinstance(v4, IPv4Interface)
    assert v6 is None or isinstance(v6, IPv6Interface)
    return Port(name=name, mac=mac, ipv4=v4, ipv6=v6, interface=interface, pci=address)


def _interface(node: Node) -> str:
    """A name that the kernel takes (dev_valid_name)."""
    text = node.text()
    if not 0 < len(text) <= 15 or text in (".", "..") or re.search(r"[/:\s]", text):
        node.fail(f"expected the name of an interface, at most 15 characters, got {text!r}")
    return text


def _pci(node: Node) -> str:
    """Its long form; lspci leaves out the domain 0000."""
    match = re.fullmatch(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", node.text().lower())
    if match is None:
        node.fail(f"expected a PCI address such as 0000:01:00.0, got {node.text()!r}")
    domain, bus, device, function = match.groups()
    return f"{domain or '0000'}:{bus}:{device}.{function}"


def _mac(node: Node) -> str:
    mac = node.text().lower()
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac) or int(mac[:2], 16) & 1:
        node.fail(f"expected a unicast MAC address such as 02:00:00:00:00:01, got {mac!r}")
    return mac


def _address(node: Node, version: int, tier: Tier, seen: _Unique) -> IPv4Interface | IPv6Interface:
    example = "198.18.0.1/24" if version == 4 else "2001:2::1/64"
    try:
        address = ip_interface(node.text())
    except ValueError:
        node.fail(
            f"expected an IPv{version} address with prefix length such as {example}, got {node.value!r}"
        )
    if address.version != version or "/" not in node.text():
        node.fail(
            f"expected an IPv{version} address with prefix length such as {example}, got {node.value!r}"
        )
    inside = any(address.version == net.version and address.ip in net for net in TEST_NETWORKS)
    if tier is not Tier.HARDWARE and not inside:
        allowed = TEST_NETWORKS[version == 6]
        node.fail(
            f"expected an address in {allowed} (set aside for benchmarks), got {address}",
            hint=f"try {example}",
        )
    if address.ip == address.network.network_address and address.network.num_addresses > 2:
        node.fail(f"{address.ip} is the network address", hint=f"try {address.ip + 1}")
    seen.check(node, "address", str(address.ip))
    return address


class _Unique:
    """What may stand only once in a file, and where it stood first."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], Node] = {}

    def check(self, node: Node, what: str, value: str) -> str:
        first = self._first.setdefault((what, value), node)
        if first is not node:
            node.fail(
                f"the {what} {value!r} is already used by {first.where} (line {first.line})",
                hint="choose another",
            )
        return value


def word(node: Node, longest: int) -> str:
    """The value as a name."""
    text = node.text()
    if len(text) > longest or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text):
        node.fail(
            f"expected a name of at most {longest} characters (a letter, then letters, digits, _ and -), got {text!r}"
        )
    return text


def _bytes(node: Node) -> int:
    try:
        value = parse_quantity(node.text(), Unit.BYTES)
    except ConfigInvalid as error:
        node.fail(error.message, hint="such as 1500 B or 2 MiB")
    if value != int(value):
        node.fail(f"expected whole bytes, got {node.value}")
    return int(value)
