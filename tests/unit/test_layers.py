"""The rooms of the package, and who may import whom: only downwards (docs/architecture.md says what lives where)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import labkit

PACKAGE = Path(labkit.__file__).parent

MAY_IMPORT = {
    "errors": "",
    "units": "",
    "yamlfile": "",
    "format": "",
    "output": "",
    "progress": "",
    "machine": "",
    "measure": "",
    "lab": "machine",
    "probe": "machine",
    "backends": "lab probe machine measure",
    "testers": "lab probe machine measure",
    "record": "lab machine measure",
    "lowlatency": "record machine measure",
    "targets": "record lab measure",
    "results": "targets record machine measure",
    "doctor": "lowlatency probe lab machine",
    "agent": "doctor record testers probe lab machine measure",
    "session": "doctor results targets lowlatency record backends testers probe lab measure machine",
    "harness": "session targets record backends testers lab machine",
    "faces": "agent harness session doctor results targets lowlatency record backends testers probe lab measure "
    "machine",
}
"""By room; the ground (GROUND) may be imported by all."""
SHARED_WITH_ANSIBLE = {
    "boot_arguments",
    "boot_kernels",
    "cpus",
    "drivers",
    "ethtool_groups",
    "ethtool_text",
    "grub_menu",
    "iommu",
    "irqbalance_bans",
    "kernel_words",
    "links",
    "nics",
    "onload_install",
    "onload_plan",
    "onload_register",
    "onload_remove",
    "onload_unit",
    "pci",
    "protected",
    "services",
    "settings",
    "trees",
    "trex_config",
    "trex_host",
    "trex_server",
    "trex_unit",
    "tuned",
}
"""Modules of the collection's module_utils that labkit loads by `host_module`: no import statement shows them."""
GROUND = ("errors", "units", "yamlfile", "format", "output", "progress")
FACES = ("cli", "verbs", "plugin", "fixtures")
LOOSE_AT_MOST = 10


def module(path: Path) -> str:
    """Its dotted name: labkit/lab/__init__.py is labkit.lab."""
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {module(path): path for path in PACKAGE.rglob("*.py")}


def room(name: str) -> str:
    """The room of a module; "" is the package itself, which holds the version."""
    first = name.partition(".")[2].partition(".")[0]
    return "faces" if first in FACES else first


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and module of each import of ours, also those inside functions and for types alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full"
            base = str(node.module)
            for alias in node.names:
                both = f"{base}.{alias.name}"
                if both in FILES or base in FILES:
                    yield node.lineno, both if both in FILES else base


def upward(name: str, source: str) -> list[str]:
    """The imports of a module that its room does not allow."""
    own = room(name)
    allowed = {"", own, *GROUND, *MAY_IMPORT.get(own, "").split()}
    return [f"{name}:{line} imports {other}" for line, other in imports(source) if room(other) not in allowed]


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_imports_only_what_its_room_may(name: str) -> None:
    assert upward(name, FILES[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("labkit.measure.search", "from labkit.lab.topology import Topology"),
        ("labkit.lab.live", "def f():\n    from labkit.session import testbed"),
        ("labkit.results.rows", "import labkit.plugin"),
        ("labkit.machine.fix", "from labkit.record.model import Key"),
    ],
)
def test_a_wrong_import_is_found(name: str, source: str) -> None:
    assert upward(name, source)


def test_the_rooms_have_no_circle() -> None:
    order = TopologicalSorter({name: rooms.split() for name, rooms in MAY_IMPORT.items()})
    assert set(order.static_order()) == set(MAY_IMPORT)


def test_no_two_modules_import_each_other() -> None:
    graph = {
        name: {other for _, other in imports(path.read_text(encoding="utf-8"))} - {name}
        for name, path in FILES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_each_room_is_in_the_table() -> None:
    rooms = {room(name) for name in FILES} - {""}
    assert rooms == set(MAY_IMPORT)


def test_few_modules_lie_loose() -> None:
    loose = [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    assert len(loose) <= LOOSE_AT_MOST, loose


def loaded_from_ansible(source: str) -> Iterator[str]:
    """The names given to `host_module`. A name that is not written out at the call can't be listed, and fails."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("host_module"):
            name = node.args[0]
            assert isinstance(name, ast.Constant), f"line {node.lineno}: give host_module a literal name"
            yield str(name.value)


def test_the_modules_shared_with_ansible_are_listed() -> None:
    users = {name: set(loaded_from_ansible(path.read_text(encoding="utf-8"))) for name, path in FILES.items()}
    users = {name: loaded for name, loaded in users.items() if loaded}
    assert {module for loaded in users.values() for module in loaded} == SHARED_WITH_ANSIBLE
    others = {name for name in users if not name.startswith("labkit.doctor.host.")}
    machine = {"nic_settings", "pci_driver", "trex_service"}
    assert others == {f"labkit.machine.{name}" for name in machine}
