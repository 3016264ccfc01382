"""A name says which class is meant: no two classes of the package share one."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import labkit

PACKAGE = Path(labkit.__file__).parent
SOURCES = {
    path.relative_to(PACKAGE.parent).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}


def shared(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The names that several classes have, with the places of these. Classes inside others and functions count."""
    places: dict[str, list[str]] = {}
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{file}:{node.lineno}")
    return {name: where for name, where in places.items() if len(where) > 1}


def test_no_two_classes_share_a_name() -> None:
    assert len(SOURCES) > 100
    assert shared(SOURCES) == {}


def test_a_shared_name_is_found_wherever_the_classes_stand() -> None:
    sources = {
        "a.py": "class One: ...\nclass Two:\n    class Three: ...\n",
        "b.py": "def f():\n    class Three: ...",
    }
    assert shared(sources) == {"Three": ["a.py:3", "b.py:2"]}
