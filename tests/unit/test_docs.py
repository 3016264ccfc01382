"""What the pages for contributors name is there: paths, the names in those files, and modules."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from test_layers import GROUND, MAY_IMPORT

CHECKOUT = Path(__file__).parents[2]
ARCHITECTURE = CHECKOUT / "docs/architecture.md"
PAGES = (CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md")))
PATH = r"`((?:labkit|ansible|tests|docs|topologies|findings)/[\w./-]*)`"
NAME = r"`[A-Za-z_]\w*(?:\.\w+)*`"
COLLECTIONS = CHECKOUT / "ansible/collections/ansible_collections"


def paths(text: str) -> list[str]:
    """The paths in a page."""
    return re.findall(PATH, text)


def names_in_files(text: str) -> list[tuple[str, str]]:
    """`file` (`name`, `name`): each file with a name that a page says is in it."""
    found = re.findall(rf"{PATH}\s+\(({NAME}(?:,\s+{NAME})*)\)", text)
    return [(path, name.strip("`")) for path, names in found for name in re.findall(NAME, names)]


def defined(file: Path) -> set[str]:
    """The names that a file defines: in Python also `Class.method`; in C every word."""
    source = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return set(re.findall(r"\w+", source))
    return set(_defined(ast.parse(source).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + one.id for one in targets if isinstance(one, ast.Name))
        if isinstance(node, ast.ClassDef):
            yield from _defined(node.body, f"{prefix}{node.name}.")


def dotted(text: str) -> list[str]:
    """The modules of labkit in a page, as they are imported."""
    return re.findall(r"`(labkit(?:\.\w+)+)`", text)


def resolves(name: str) -> bool:
    """Whether it is a group of entry points, a collection of Ansible, a module, or a name in a module."""
    if entry_points(group=name) or (COLLECTIONS / name.replace(".", "/") / "plugins").exists():
        return True
    module, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), last)
    return True


def missing(text: str) -> list[str]:
    """What a page names and is not there."""
    wrong = [path for path in paths(text) if not (CHECKOUT / path).exists()]
    wrong += [
        f"{path}: {name}"
        for path, name in names_in_files(text)
        if (CHECKOUT / path).is_file() and name not in defined(CHECKOUT / path)
    ]
    return wrong + [name for name in dotted(text) if not resolves(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`labkit/gone.py`", ["labkit/gone.py"]),
        ("`labkit/units.py` (`parse_load`, `gone`)", ["labkit/units.py: gone"]),
        ("`labkit/session/kinds.py`\n   (`Kinds.gone`)", ["labkit/session/kinds.py: Kinds.gone"]),
        ("`labkit/probe/core/pacing.h` (`pacing_gone`)", ["labkit/probe/core/pacing.h: pacing_gone"]),
        ("`labkit.units.gone`, `labkit.units.parse_load`, `labkit.backends`", ["labkit.units.gone"]),
    ],
)
def test_what_is_not_there_is_found(text: str, found: list[str]) -> None:
    assert missing(text) == found


def test_the_architecture_names_paths_names_and_modules() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    assert len(paths(text)) > 50
    assert len(names_in_files(text)) > 20
    assert dotted(text)


def test_the_architecture_names_each_room() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    rooms = set(MAY_IMPORT) - set(GROUND) - {"faces"}
    assert [room for room in sorted(rooms) if f"| `{room}` |" not in text] == []
    assert [module for module in GROUND if f"`{module}`" not in text] == []


def test_the_rooms_are_listed_so_that_each_imports_only_lower_ones() -> None:
    listed = re.findall(r"^\| (?:`(\w+)`|faces:)", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    order = {name or "faces": place for place, name in enumerate(listed)}
    assert set(order) == set(MAY_IMPORT) - set(GROUND)
    upward = [
        (room, lower)
        for room, place in order.items()
        for lower in MAY_IMPORT[room].split()
        if order[lower] <= place
    ]
    assert upward == []
