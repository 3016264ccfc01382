"""The lab file: links, ports and cores as types; `load` reads one and `names` lists those that are at hand.

All that can be wrong in the file alone is found here; what depends on the machine (cores, privileges) when the lab
comes up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface
from pathlib import Path
from typing import Final, Literal

from labkit.errors import ConfigInvalid, LabkitBug, Mistakes
from labkit.lab.simulation import SimulatedSpec
from labkit.units import Unit, parse_quantity
from labkit.yamlfile import Node, parse_yaml, suggest

Role = Literal["tester", "dut"]

TEST_NETWORKS: Final = (IPv4Network("198.18.0.0/15"), IPv6Network("2001:2::/48"))
"""Set aside for benchmarking (RFC 2544 C.2.2, RFC 5180 8): software labs use no others."""

_MTU_LOW, _MTU_IPV6_LOW = 68, 1280
_MTU_HIGH: Final = {"veth": 9202, "vhost": 2034, "memif": 2034}
"""veth: the probe's largest frame less the Ethernet header; shared memory: one mbuf (2048 bytes) a frame."""
_RING: Final = (64, 4096)


class Tier(StrEnum):
    """What the figures of a lab can be compared with."""

    SIMULATED = "simulated"
    """No packet is sent: a model of a DUT, for trying labkit and testing it."""
    SOFTWARE = "software"
    VM = "vm"
    HARDWARE = "hardware"


class LinkKind(StrEnum):
    """How two ports are wired."""

    VETH = "veth"
    VHOST = "vhost"
    MEMIF = "memif"
    SIM = "sim"
    """No wire at all: what a simulated lab has."""


class Napi(StrEnum):
    """On whose core the receiving end of a veth link works.

    Left alone, it is the sender's: the receive path runs in softirq where the frame was sent.
    """

    SOFTIRQ = "softirq"
    """As the kernel does by itself: on the sender's core."""
    RPS = "rps"
    """Receive packet steering hands frames to the receiver's core (the stack's part; XDP stays with the sender)."""
    THREADED = "threaded"
    """The link's NAPI has a kernel thread each, pinned to the receiver's core."""


DEFAULT_NAPI: Final = Napi.SOFTIRQ


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One end of a link."""

    name: str
    """Interface name (at most 15 characters) or the name of a shared-memory port."""
    mac: str
    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A wire between the tester and the DUT."""

    name: str
    kind: LinkKind
    mtu_bytes: int
    tester: Port
    dut: Port
    ring_frames: int
    """Descriptors per ring of a shared-memory link (0 on veth)."""
    hugepages: bool
    """Whether the link's memory is asked for in hugepages (shared-memory links)."""
    memory_bytes: int = 0
    """Memory that both ends together may take: so many bytes of hugepages must be free (0 on veth)."""
    napi: Napi = Napi.SOFTIRQ
    """veth only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A lab, as written."""

    name: str
    description: str
    tier: Tier
    tester_core: int | None
    """None: chosen when the lab comes up."""
    dut_core: int | None
    links: tuple[Link, ...]
    """One link: the DUT reflects. Two: it forwards from the first to the second."""
    backends: tuple[str, ...]
    """Backends that the suite measures on it."""
    targets: tuple[Path, ...]
    source: Path
    sha256: str
    """Of the file as read."""
    text: str = field(default="", repr=False)
    """The file as read: a lab that stands keeps it, whatever becomes of the file."""
    core_lines: Mapping[str, int] = field(default_factory=dict, repr=False)
    """Where in the file each role's core stands: whether it exists is seen on the machine only."""
    simulation: Mapping[str, SimulatedSpec] = field(default_factory=dict)
    """By backend, what a simulated lab simulates; empty on a real one."""

    @property
    def mtu_bytes(self) -> int:
        """The largest MTU of its links."""
        return max(link.mtu_bytes for link in self.links)

    @property
    def forwards(self) -> bool:
        """Whether the DUT forwards between two ports (else it reflects on one)."""
        return len(self.links) == 2


def directories() -> tuple[Path, ...]:
    """Where topologies are looked for by name: the checkout's folder, then the installed package's."""
    package = Path(__file__).resolve().parents[1]
    return tuple(d for d in (package.parent / "topologies", package / "topologies") if d.is_dir())


def names() -> list[str]:
    """The topologies that can be loaded by name."""
    found = {p.stem for d in directories() for p in d.glob("*.yml") if not p.name.endswith(".targets.yml")}
    return sorted(found)


def load(name_or_path: str | Path) -> Topology:
    """Read a topology by name ("veth") or by path ("labs/mine.yml").

    Raises ConfigInvalid: no such file, or the file is wrong (with file, line and what was expected).
    """
    path = _find(str(name_or_path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error}") from None
    return parse(text, path)


def _find(wanted: str) -> Path:
    if "/" in wanted or wanted.endswith((".yml", ".yaml")):
        if not Path(wanted).is_file():
            raise ConfigInvalid(
                f"{wanted}: no such topology file", hint=f"topologies by name: {', '.join(names())}"
            )
        return Path(wanted)
    for directory in directories():
        if (directory / f"{wanted}.yml").is_file():
            return directory / f"{wanted}.yml"
    raise ConfigInvalid(
        f"no topology is called {wanted!r}", hint=suggest(wanted, names()) + ", or a path to a file"
    )


def parse(text: str, source: Path, *, alone: bool = False) -> Topology:
    """Read the text of a topology file; `source` is for messages and for what stands beside it.

    `alone`: without its files of targets, which may have gone (a lab that is up). Raises ConfigInvalid with all that
    is wrong, not the first of it.
    """
    mistakes = Mistakes()
    lab_file: Topology | None = None
    with mistakes.noted():
        lab_file = _topology(parse_yaml(text, source, mistakes), text, source, mistakes, alone=alone)
    mistakes.check()
    if lab_file is None:
        raise LabkitBug(f"{source}: not read, and no mistake was noted")
    return lab_file


def _topology(root: Node, text: str, source: Path, mistakes: Mistakes, *, alone: bool) -> Topology:
    keys = root.mapping(
        required=("description", "backends"),
        optional=("name", "tier", "cores", "targets", "links", "simulation"),
    )
    name, description = source.stem, ""
    tier: Tier | None = None  # where what is written is none: then what depends on it is left alone
    backends: tuple[str, ...] = ()
    targets: tuple[Path, ...] = ()
    links: tuple[Link, ...] = ()
    simulation: Mapping[str, SimulatedSpec] = {}
    with mistakes.noted():
        name = _word(keys["name"], 40) if "name" in keys else name
    with mistakes.noted():
        description = keys["description"].text()
    with mistakes.noted():
        tier = Tier(keys["tier"].one_of(list(Tier))) if "tier" in keys else Tier.SOFTWARE
    with mistakes.noted():
        backends = _backends(keys["backends"], mistakes)
    with mistakes.noted():
        if tier is Tier.SIMULATED and "links" in keys:
            keys["links"].fail("a simulated lab has no links", hint="remove the key, or choose another tier")
        if tier not in (Tier.SIMULATED, None) and "simulation" in keys:
            keys["simulation"].fail("only a lab of tier 'simulated' has this key")
    with mistakes.noted():
        if tier is Tier.SIMULATED:
            if "simulation" not in keys:
                root.fail(
                    "a simulated lab needs 'simulation': what each backend does",
                    hint="see topologies/sim.yml",
                )
            simulation, links = _simulation(keys["simulation"], backends, mistakes), (_NO_WIRE,)
        elif "links" in keys:
            links = _links(keys["links"], tier or Tier.HARDWARE, mistakes)
        elif tier is not None:
            root.fail("missing key 'links'", hint="one link (the DUT reflects) or two (it forwards)")
    cores: dict[str, Node] = {}
    chosen: dict[str, int] = {}
    with mistakes.noted():
        cores = keys["cores"].mapping(required=(), optional=("tester", "dut")) if "cores" in keys else {}
    for role, node in cores.items():
        with mistakes.noted():
            chosen[role] = node.integer(0, 65535)
    with mistakes.noted():
        if chosen.get("tester", -1) == chosen.get("dut", -2):
            keys["cores"].fail(
                f"expected two different cores, got {chosen['dut']} for both tester and dut",
                hint="leave cores out and they are chosen for you",
            )
    with mistakes.noted():
        targets = () if alone else _targets(keys.get("targets"), source, mistakes)
    return Topology(
        name=name,
        description=description,
        tier=tier or Tier.SOFTWARE,
        tester_core=chosen.get("tester"),
        dut_core=chosen.get("dut"),
        links=links,
        backends=backends,
        targets=targets,
        source=source,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        text=text,
        core_lines={role: node.line for role, node in cores.items()},
        simulation=simulation,
    )


_NO_PORT: Final = Port(name="none", mac="02:00:00:00:00:00", ipv4=None, ipv6=None)
_NO_WIRE: Final = Link(
    name="sim",
    kind=LinkKind.SIM,
    mtu_bytes=9000,
    tester=_NO_PORT,
    dut=_NO_PORT,
    ring_frames=0,
    hugepages=False,
)


def _simulation(node: Node, backends: tuple[str, ...], mistakes: Mistakes) -> dict[str, SimulatedSpec]:
    """What each backend of a simulated lab does."""
    specs: dict[str, SimulatedSpec] = {}
    for name, entry in node.mapping(required=backends, optional=()).items():
        with mistakes.noted():
            fields = entry.mapping(required=(), optional=SimulatedSpec.keys(), renamed=SimulatedSpec.RENAMED)
            alone: dict[str, SimulatedSpec] = {}
            for key, value in fields.items():
                with mistakes.noted():
                    alone[key] = _simulated(value, {key: value})
            if len(alone) == len(fields):
                specs[name] = _simulated(entry, fields)
    return specs


def _simulated(node: Node, fields: Mapping[str, Node]) -> SimulatedSpec:
    try:
        return SimulatedSpec.parse({key: value.value for key, value in fields.items()})
    except ConfigInvalid as error:
        node.fail(error.message)


def _links(node: Node, tier: Tier, mistakes: Mistakes) -> tuple[Link, ...]:
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
            f"links of different kinds cannot be mixed, got {' and '.join(link.kind for link in links)}",
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
    others: tuple[str, ...] = () if kind is None else ("napi",)
    for key in ("ring", "hugepages", "memory") if kind is LinkKind.VETH else others:
        with mistakes.noted():
            if key in keys:
                keys.pop(key).fail(
                    f"a {kind} link has no {key!r}", hint="remove the key, or choose another kind of link"
                )
    with mistakes.noted():
        name = seen.check(keys["name"], "link name", _word(keys["name"], 15))
    tester = dut = _NO_PORT
    with mistakes.noted():
        tester = _port(keys["tester"], kind, tier, seen, mistakes)
    with mistakes.noted():
        dut = _port(keys["dut"], kind, tier, seen, mistakes)
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
    shared = kind is not LinkKind.VETH
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
    mtu, low = _bytes(node), _MTU_IPV6_LOW if ipv6 else _MTU_LOW
    if kind is not None and not low <= mtu <= _MTU_HIGH[kind]:
        node.fail(
            f"expected an MTU from {low} B to {_MTU_HIGH[kind]} B on a {kind} link, got {mtu} B",
            hint="a 1518-byte frame needs an MTU of 1500 B"
            + (", IPv6 at least 1280 B" if low > _MTU_LOW else ""),
        )
    return mtu


def _port(node: Node, kind: LinkKind | None, tier: Tier, seen: _Unique, mistakes: Mistakes) -> Port:
    keys = node.mapping(required=("name", "mac"), optional=("ipv4", "ipv6"))
    name = mac = ""
    v4 = v6 = None
    with mistakes.noted():
        if not {"ipv4", "ipv6"} & keys.keys():
            node.fail("expected an ipv4 address, an ipv6 address or both", hint="such as ipv4: 198.18.0.1/24")
    with mistakes.noted():
        name = seen.check(keys["name"], "port name", _word(keys["name"], 15 if kind is LinkKind.VETH else 31))
    with mistakes.noted():
        mac = seen.check(keys["mac"], "MAC address", _mac(keys["mac"]))
    with mistakes.noted():
        v4 = _address(keys["ipv4"], 4, tier, seen) if "ipv4" in keys else None
    with mistakes.noted():
        v6 = _address(keys["ipv6"], 6, tier, seen) if "ipv6" in keys else None
    assert v4 is None or isinstance(v4, IPv4Interface)
    assert v6 is None or isinstance(v6, IPv6Interface)
    return Port(name=name, mac=mac, ipv4=v4, ipv6=v6)


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
    if tier is Tier.SOFTWARE and not inside:
        allowed = TEST_NETWORKS[version == 6]
        node.fail(
            f"expected an address in {allowed} (set aside for benchmarks), got {address}",
            hint=f"try {example}",
        )
    if address.ip == address.network.network_address and address.network.num_addresses > 2:
        node.fail(f"{address.ip} is the address of the network itself", hint=f"try {address.ip + 1}")
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
                f"the {what} {value!r} is taken by {first.where} (line {first.line})", hint="choose another"
            )
        return value


def _word(node: Node, longest: int) -> str:
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


def _backends(node: Node, mistakes: Mistakes) -> tuple[str, ...]:
    known = sorted(entry.name for entry in entry_points(group="labkit.backends"))
    items, found = list(node.items()), list[str]()
    for item in items:
        with mistakes.noted():
            found.append(item.one_of(known))
    chosen = tuple(found)
    if not items or len(set(chosen)) != len(chosen):
        node.fail("expected each backend once, at least one", hint=f"known: {', '.join(known)}")
    return chosen


def targets_beside(source: Path) -> tuple[Path, ...]:
    """NAME.targets.yml beside a topology, where there is one."""
    beside = source.with_suffix("").with_suffix(".targets.yml")
    return (beside,) if source.name and beside.is_file() else ()


def _targets(node: Node | None, source: Path, mistakes: Mistakes) -> tuple[Path, ...]:
    """Files named in `targets`, else NAME.targets.yml beside the topology where there is one."""
    if node is None:
        return targets_beside(source)
    paths = []
    for item in node.items():
        with mistakes.noted():
            path = source.parent / item.text()
            if not path.is_file():
                item.fail(f"no such file: {path}")
            paths.append(path)
    return tuple(paths)
