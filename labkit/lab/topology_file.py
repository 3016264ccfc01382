"""The topology file: `load` reads one and `names` lists those that labkit ships.

Everything that depends on the file alone is validated here; what depends on the machine (cores, privileges), when the
lab is brought up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

from labkit.errors import ConfigInvalid, LabkitBug, Mistakes
from labkit.lab import command_file, onload_file
from labkit.lab.command_file import read_commands
from labkit.lab.commands import Command
from labkit.lab.link_file import read_links, word
from labkit.lab.onload import OnloadSettings
from labkit.lab.onload_file import read_onload
from labkit.lab.simulation import SimulatedSpec
from labkit.lab.topology import HERE, NO_WIRE, ROLES, TESTERS, Link, LinkKind, Role, Tier, Topology
from labkit.lab.traffic import UDP
from labkit.lab.traffic_file import read_traffic
from labkit.yamlfile import Node, parse_yaml, suggest


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
    try:
        return _place(wanted)
    except OSError as error:  # a folder that is closed, a name that is too long
        raise ConfigInvalid(f"{wanted}: cannot be read: {error.strerror}") from None


def _place(wanted: str) -> Path:
    if not wanted.strip():
        raise ConfigInvalid(
            f"expected the name of a topology or a path to its file, got {wanted!r}",
            hint=f"topologies by name: {', '.join(names())}",
        )
    if "/" in wanted or wanted.endswith((".yml", ".yaml")):
        if not Path(wanted).is_file():
            what = (
                "is a folder, expected a topology file" if Path(wanted).is_dir() else "no such topology file"
            )
            raise ConfigInvalid(f"{wanted}: {what}", hint=f"topologies by name: {', '.join(names())}")
        return Path(wanted)
    for directory in directories():
        if (directory / f"{wanted}.yml").is_file():
            return directory / f"{wanted}.yml"
    raise ConfigInvalid(
        f"no topology is named {wanted!r}", hint=suggest(wanted, names()) + ", or a path to a file"
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
        optional=(
            "name",
            "tier",
            "hosts",
            "inventory",
            "cores",
            "tester",
            "targets",
            "links",
            "traffic",
            "commands",
            "onload",
            "simulation",
        ),
    )
    name, description = source.stem, ""
    tier: Tier | None = None  # None: the file names no valid tier, and what depends on it is not checked
    backends: tuple[str, ...] = ()
    whole = False  # False: its list of backends is wrong, and may mean others
    tester: str | None = None
    targets: tuple[Path, ...] = ()
    links: tuple[Link, ...] = ()
    simulation: Mapping[str, SimulatedSpec] = {}
    with mistakes.noted():
        name = word(keys["name"], 40) if "name" in keys else name
    with mistakes.noted():
        description = keys["description"].text()
    with mistakes.noted():
        tier = Tier(keys["tier"].one_of(list(Tier))) if "tier" in keys else Tier.SOFTWARE
    with mistakes.noted():
        backends, whole = _backends(keys["backends"], mistakes)
    with mistakes.noted():
        tester = keys["tester"].one_of(TESTERS) if "tester" in keys else None
        if tester is not None and tier is Tier.SIMULATED:
            keys["tester"].fail("a simulated lab has a tester of its own", hint="remove the key")
    with mistakes.noted():
        if tier is Tier.SIMULATED and "links" in keys:
            keys["links"].fail("a simulated lab has no links", hint="remove the key, or choose another tier")
        if tier not in (Tier.SIMULATED, None) and "simulation" in keys:
            keys["simulation"].fail("only a lab of tier 'simulated' has this key")
    with mistakes.noted():
        if tier in (Tier.SIMULATED, None) and "simulation" in keys:
            others = () if whole else _known_backends()
            simulation, links = _simulation(keys["simulation"], backends, others, mistakes), (NO_WIRE,)
        elif tier is Tier.SIMULATED:
            root.fail(
                "a simulated lab needs 'simulation': what each backend does",
                hint="see topologies/sim.yml",
            )
    with mistakes.noted():
        if tier is not Tier.SIMULATED and "links" in keys:
            links = read_links(keys["links"], tier or Tier.HARDWARE, mistakes)
        elif tier not in (Tier.SIMULATED, None):
            root.fail("missing key 'links'", hint="one link (the DUT reflects) or two (it forwards)")
    traffic = UDP
    with mistakes.noted():
        if "traffic" in keys:
            traffic = read_traffic(keys["traffic"], source, links, tier, mistakes, alone=alone)
    hosts: dict[Role, str] = {"tester": HERE, "dut": HERE}
    host_nodes: dict[str, Node] = {}
    with mistakes.noted():
        host_nodes = keys["hosts"].mapping(required=(), optional=ROLES) if "hosts" in keys else {}
        if host_nodes and {link.kind for link in links} - {LinkKind.NIC, LinkKind.SIM}:
            keys["hosts"].fail(
                f"a lab with links of kind {links[0].kind} is on this machine alone",
                hint="remove the key, or describe links of kind nic",
            )
    for role in ROLES:
        with mistakes.noted():
            hosts[role] = _host(host_nodes[role]) if role in host_nodes else HERE
    commands: tuple[Command, ...] = ()
    with mistakes.noted():
        if "commands" in keys:
            base = command_file.Base(source.parent, here=hosts["dut"] == HERE, checked=not alone)
            commands = read_commands(keys["commands"], links, tier, base, mistakes)
            if whole and command_file.BACKEND not in backends:
                command_file.needless(keys["commands"])
        elif command_file.BACKEND in backends and tier is not Tier.SIMULATED:
            command_file.missing(keys["backends"])
    onload = OnloadSettings()
    with mistakes.noted():
        if "onload" in keys:
            onload = read_onload(keys["onload"], mistakes)
            if whole and not {onload_file.BACKEND, command_file.BACKEND} & set(backends):
                onload_file.needless(keys["onload"])
    inventories: tuple[Path, ...] = ()
    with mistakes.noted():
        inventories = _inventories(keys["inventory"], host_nodes, source) if "inventory" in keys else ()
    cores: dict[str, Node] = {}
    chosen: dict[str, int] = {}
    with mistakes.noted():
        cores = keys["cores"].mapping(required=(), optional=("tester", "dut")) if "cores" in keys else {}
    for name_of_role, node in cores.items():
        with mistakes.noted():
            chosen[name_of_role] = node.integer(0, 65535)
    with mistakes.noted():
        if hosts["tester"] == hosts["dut"] and chosen.get("tester", -1) == chosen.get("dut", -2):
            keys["cores"].fail(
                f"expected two different cores, got {chosen['dut']} for both tester and dut",
                hint="leave cores out to have them chosen",
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
        tester=tester,
        targets=targets,
        source=source,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        text=text,
        core_lines={role: node.line for role, node in cores.items()},
        hosts=hosts,
        host_lines={role: host_nodes[role].line for role in ROLES if role in host_nodes},
        inventories=inventories,
        inventory_line=keys["inventory"].line if "inventory" in keys else 0,
        traffic=traffic,
        commands=commands,
        onload=onload,
        simulation=simulation,
    )


def _inventories(node: Node, hosts: Mapping[str, Node], source: Path) -> tuple[Path, ...]:
    """One or several, of which a later one overrides an earlier one; whether they are there is not looked at.

    A path is relative to the file; in those that labkit ships, which stand apart from what a user makes, to the working
    directory.
    """
    if not hosts:
        node.fail("a lab on this machine alone needs no inventory", hint="remove the key, or name the hosts")
    shipped = source.parent.resolve() in directories()
    items = list(node.items()) if isinstance(node.value, list) else [node]
    if not items:
        node.fail("expected an Ansible inventory, or a list of them, got an empty list")
    return tuple((Path() if shipped else source.parent) / item.text() for item in items)


def _host(node: Node) -> str:
    """The name of a host, as an inventory or ssh's own configuration has it; no option of ssh's."""
    text = node.text()
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*", text):
        node.fail(
            f"expected the name of a host, got {text!r}",
            hint="here, a host of the inventory (--inventory), or a name that ssh knows",
        )
    return text


def _simulation(
    node: Node, backends: Sequence[str], others: Sequence[str], mistakes: Mistakes
) -> dict[str, SimulatedSpec]:
    """What each backend of a simulated lab does. `others`: those that the wrong list of backends may mean."""
    specs: dict[str, SimulatedSpec] = {}
    optional = [name for name in others if name not in backends]
    for name, entry in node.mapping(required=backends, optional=optional).items():
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


def _known_backends() -> list[str]:
    return sorted(entry.name for entry in entry_points(group="labkit.backends"))


def _backends(node: Node, mistakes: Mistakes) -> tuple[tuple[str, ...], bool]:
    """Those that are right, each once, and whether that is all of the list."""
    known = _known_backends()
    items, found = list(node.items()), list[str]()
    for item in items:
        with mistakes.noted():
            found.append(item.one_of(known))
    chosen = tuple(dict.fromkeys(found))
    with mistakes.noted():
        if not items or len(chosen) != len(found):
            node.fail("expected each backend once, at least one", hint=f"known: {', '.join(known)}")
    return chosen, bool(items) and len(chosen) == len(items)


def targets_beside(source: Path) -> tuple[Path, ...]:
    """NAME.targets.yml beside a topology, where there is one."""
    if source.name:  # a folder such as / has none
        beside = source.with_suffix("").with_suffix(".targets.yml")
        with suppress(OSError):
            return (beside,) if beside.is_file() else ()
    return ()


def _targets(node: Node | None, source: Path, mistakes: Mistakes) -> tuple[Path, ...]:
    """Files named in `targets`, else NAME.targets.yml beside the topology where there is one."""
    if node is None:
        return targets_beside(source)
    paths = []
    for item in node.items():
        with mistakes.noted():
            path = source.parent / item.text()
            try:
                there = path.is_file()
            except OSError as error:
                item.fail(f"{path}: cannot be read: {error.strerror}")
            if not there:
                item.fail(f"no such file: {path}")
            paths.append(path)
    return tuple(paths)
