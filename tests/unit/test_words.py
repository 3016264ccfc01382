"""Retired words (docs/glossary.md has the table) do not stand in what users and operators read."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from labkit.cli import build_parser

CHECKOUT = Path(__file__).parents[2]
RETIRED = re.compile(
    r"\b(told|swallow(?:s|ed)?|sabotages?|ceilings?|knobs?|rigs?|promises?|mends?|made ready|put back|held against"
    r"|likeness|loss curves?)\b",
    re.IGNORECASE,
)
PAGES = (
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ansible/README.md")),
    *sorted((CHECKOUT / "docs").glob("*.md")),
    *sorted((CHECKOUT / "labkit").rglob("*.md")),
    *sorted((CHECKOUT / "ansible/roles").glob("*/README.md")),
)
SPECS = sorted((CHECKOUT / "ansible/roles").glob("*/meta/argument_specs.yml"))
MODULES = sorted(
    (CHECKOUT / "ansible/collections/ansible_collections/labkit/host/plugins/modules").glob("*.py")
)
SOURCES = sorted((CHECKOUT / "labkit").rglob("*.py"))
NAMED = ("labkit", "ansible", "tests", "docs", "topologies")


def retired(text: str) -> set[str]:
    return {match.lower() for match in RETIRED.findall(text)}


def page(path: Path) -> str:
    """Its text, without the places that say what replaced a word."""
    text = path.read_text(encoding="utf-8")
    if path.name == "glossary.md":
        return text.partition("## Retired words")[0]
    return re.sub(r'"\w+" is "|`[^`]*`', '"', text) if path.name == "CHANGELOG.md" else text


def texts(value: object) -> Iterator[str]:
    """All keys and texts of a YAML document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def documentation(source: str) -> str:
    """What ansible-doc shows of a module."""
    return "\n".join(
        node.value.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def messages(source: str) -> str:
    """The texts of a module: strings with a space in them, no keys and no docstrings."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return "\n".join(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " in node.value
        and id(node) not in bare
    )


def helps(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    yield parser.prog, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from helps(inner)


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_page_has_no_retired_word(path: Path) -> None:
    assert retired(page(path)) == set()


@pytest.mark.parametrize("path", SPECS, ids=name)
def test_a_roles_variables_are_described_without_retired_words(path: Path) -> None:
    assert retired("\n".join(texts(yaml.safe_load(path.read_text(encoding="utf-8"))))) == set()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_modules_documentation_has_no_retired_word(path: Path) -> None:
    assert retired(documentation(path.read_text(encoding="utf-8"))) == set()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_messages_have_no_retired_word(path: Path) -> None:
    assert retired(messages(path.read_text(encoding="utf-8"))) == set()


def test_no_file_is_named_by_a_retired_word() -> None:
    names = {
        name(path)
        for top in NAMED
        for path in (CHECKOUT / top).rglob("*.*")
        if path.suffix != ".pyc" and path.is_file()
    }
    assert len(names) > 500
    assert {path for path in names if re.search("promise|sabotage", path)} == set()


def test_help_has_no_retired_word() -> None:
    shown = dict(helps(build_parser()))
    assert len(shown) > 5
    assert {command: retired(text) for command, text in shown.items() if retired(text)} == {}


def test_names_of_tests_have_no_retired_word() -> None:
    """`pytest -v` shows them. The ids of the perf suite stay: results name them."""
    names = {
        node.name
        for path in sorted((CHECKOUT / "tests").rglob("test_*.py"))
        if path.parent.name != "perf"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(names) > 1000
    assert {name for name in names if retired(name.replace("_", " "))} == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("All problems are reported.", set()),
        ("Problems are told.", {"told"}),
        ("Hosts are made ready, a Knob is put back", {"made ready", "knob", "put back"}),
    ],
)
def test_a_retired_word_is_found(text: str, found: set[str]) -> None:
    assert retired(text) == found
    assert retired(messages(f'raise ValueError(f"{text} {{1}}")')) == found
    assert retired(documentation(f'DOCUMENTATION = """{text}"""')) == found


def test_docstrings_and_keys_are_no_messages() -> None:
    assert messages('"""What is told."""\nfound = item["knob"]') == ""
