"""The key `traffic` of a topology file: each key by itself, then against the lab's addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from labkit.errors import Mistakes
from labkit.lab.link_file import TEST_NETWORKS, word
from labkit.lab.topology import Link, Tier
from labkit.lab.traffic import (
    ADDRESSES,
    FIELDS,
    FLOWS_MAX,
    PROTOCOLS,
    SHUFFLED_MAX,
    UDP,
    FieldRange,
    Traffic,
)
from labkit.units import parse_whole
from labkit.yamlfile import Node

_PCAP_BYTES_MAX = 64 << 20
_PORT_MAX, _VLAN_MAX, _SIZES_MAX, _WEIGHT_MAX = 65535, 4094, 16, 1000
_ALL_SAID = "a capture says what its frames are, and no other key does beside it"


def read_traffic(
    node: Node, source: Path, links: Sequence[Link], tier: Tier | None, mistakes: Mistakes, *, alone: bool
) -> Traffic:
    """What the tester sends. Wrong keys are noted in `mistakes`; raises ConfigInvalid.

    `alone`: a capture may have gone (the lab is up).
    """
    keys = node.mapping(required=(), optional=("protocol", "vlans", "fields", "mix", "pcap"))
    if tier is Tier.SIMULATED:
        node.fail("a simulated lab sends no frames", hint="remove the key")
    found: dict[str, Any] = {}
    with mistakes.noted():
        if "protocol" in keys:
            found["protocol"] = keys["protocol"].one_of(PROTOCOLS)
    with mistakes.noted():
        if "vlans" in keys:
            found["vlans"] = _vlans(keys["vlans"])
    with mistakes.noted():
        if "fields" in keys:
            found["fields"] = _fields(keys["fields"], links, tier, found.get("protocol", "udp"), mistakes)
    with mistakes.noted():
        if "mix" in keys:
            found["mix_name"], found["mix"] = _mix(keys["mix"])
    with mistakes.noted():
        if "pcap" in keys:
            found["pcap"] = source.parent / keys["pcap"].text()
            found["pcap_sha256"] = _sha256(keys["pcap"], found["pcap"], alone=alone)
            for other in keys.keys() - {"pcap"}:
                keys[other].fail(_ALL_SAID, hint="remove this key, or the key pcap")
    with mistakes.noted():
        traffic = Traffic(**found)
        if traffic.flows > FLOWS_MAX:
            keys["fields"].fail(
                f"{traffic.flows} flows, expected at most {FLOWS_MAX}: fields take their values side by side, so there "
                "are as many as the least common multiple of their counts",
                hint="give them counts that divide each other",
            )
        return traffic
    return UDP


def _vlans(node: Node) -> tuple[int, ...]:
    items = list(node.items()) if isinstance(node.value, list) else [node]
    if len(items) not in (1, 2):
        node.fail(f"expected one VLAN id, or two (QinQ, the outer one first), got {len(items)}")
    return tuple(item.integer(1, _VLAN_MAX) for item in items)


def _fields(
    node: Node, links: Sequence[Link], tier: Tier | None, protocol: str, mistakes: Mistakes
) -> tuple[FieldRange, ...]:
    found = []
    for name, entry in node.mapping(required=(), optional=FIELDS).items():
        with mistakes.noted():
            if protocol == "icmp" and name not in ADDRESSES:
                entry.fail("ICMP has no ports", hint="remove the key, or choose another protocol")
            found.append(_field(name, entry, links, tier))
    if not node.value:
        node.fail(f"expected one of the fields {', '.join(FIELDS)}")
    return tuple(found)


def _field(name: Any, node: Node, links: Sequence[Link], tier: Tier | None) -> FieldRange:  # noqa: ANN401
    keys = node.mapping(required=("count",), optional=("first", "order", "seed"))
    shuffled = "order" in keys and keys["order"].one_of(("sequential", "shuffled")) == "shuffled"
    if "seed" in keys and not shuffled:
        keys["seed"].fail("only a shuffled order has a seed", hint="order: shuffled, or remove the key")
    count = keys["count"].integer(2, SHUFFLED_MAX if shuffled else FLOWS_MAX)
    first: IPv4Address | IPv6Address | int | None = None
    if "first" in keys:
        first = _address(keys["first"]) if name in ADDRESSES else keys["first"].integer(1, _PORT_MAX)
    seed = keys["seed"].integer(0, 2**32 - 1) if "seed" in keys else 0
    found = FieldRange(name=name, count=count, first=first, seed=seed if shuffled else None)
    if isinstance(first, int) and first + count - 1 > _PORT_MAX:
        node.fail(f"{count} ports from {first} on: port numbers end at {_PORT_MAX}")
    if name in ADDRESSES:
        _check_addresses(node, found, links, tier)
    return found


def _address(node: Node) -> IPv4Address | IPv6Address:
    try:
        return ip_address(node.text())
    except ValueError:
        node.fail(f"expected an IP address such as 198.18.0.100, got {node.value!r}")


def _check_addresses(node: Node, found: FieldRange, links: Sequence[Link], tier: Tier | None) -> None:
    """They all have one prefix of 96 bits in IPv6, and are test addresses but on hardware."""
    starts = [found.first] if found.first is not None else _own(found, links)
    for start in starts:
        assert not isinstance(start, int)
        last = int(start) + found.count - 1
        if last >> 32 != int(start) >> 32:
            node.fail(f"{found.count} addresses from {start} on go past its last 32 bits")
        end = type(start)(last)
        inside = any(start in net and end in net for net in TEST_NETWORKS if net.version == start.version)
        if tier is not Tier.HARDWARE and not inside:
            net = TEST_NETWORKS[start.version == 6]
            node.fail(f"expected addresses in {net} (set aside for benchmarks), got {start} to {end}")


def _own(found: FieldRange, links: Sequence[Link]) -> list[IPv4Address | IPv6Address]:
    """The addresses that the lab gives a field."""
    if not links:
        return []
    port = links[0].tester
    if found.name == "destination_ip":
        port = links[-1].tester if len(links) > 1 else links[0].dut
    return [one.ip for one in (port.ipv4, port.ipv6) if one is not None]


def _mix(node: Node) -> tuple[str, tuple[tuple[int, int], ...]]:
    keys = node.mapping(required=("name", "weights"))
    name, weights = word(keys["name"], 40), keys["weights"]
    if not isinstance(weights.value, dict) or not 1 <= len(weights.value) <= _SIZES_MAX:
        weights.fail(
            f"expected 1 to {_SIZES_MAX} frame sizes with a weight each, such as {{64: 7, 594: 4, 1518: 1}}"
        )
    found = []
    for size, weight in weights.value.items():
        size_bytes = parse_whole(str(size))
        if size_bytes is None or not 64 <= size_bytes <= 9220:
            weight.fail(f"expected a frame size from 64 to 9220 bytes with FCS, got {size!r}")
        found.append((size_bytes, weight.integer(1, _WEIGHT_MAX)))
    return name, tuple(found)


def _sha256(node: Node, path: Path, *, alone: bool) -> str:
    """Of a capture: it is the same one where this is the same. `alone`: empty where there is none any more."""
    hint = "name a capture file (pcap or pcapng), relative to this file"
    try:
        if not path.is_file():
            if alone:
                return ""
            node.fail(f"{path}: there is no such file", hint=hint)
        if path.stat().st_size > _PCAP_BYTES_MAX:
            node.fail(f"{path}: is larger than {_PCAP_BYTES_MAX >> 20} MiB", hint="a capture of a few frames")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        if alone:
            return ""
        node.fail(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}", hint=hint)
