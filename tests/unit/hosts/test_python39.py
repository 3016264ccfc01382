"""What runs on hosts is understood by the Python of EL 9, and needs nothing but the standard library."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[3] / "ansible/collections/ansible_collections/labkit/host/plugins"
FILES = sorted([*PLUGINS.glob("module_utils/*.py"), *PLUGINS.glob("modules/*.py")])


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_syntax_is_that_of_python_3_9(file):
    ast.parse(file.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_only_the_standard_library_and_ansible_are_imported(file):
    tree = ast.parse(file.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0
    }
    roots = {name.partition(".")[0] for name in imported} - {"ansible", "ansible_collections"}

    assert roots <= sys.stdlib_module_names


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_nothing_newer_than_python_3_9_is_called(file):
    tree = ast.parse(file.read_text())

    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg for keyword in node.keywords}
        name = ast.unparse(node.func)
        assert not (name == "zip" and "strict" in keywords), f"line {node.lineno}: zip(strict) is of 3.10"
        assert not (name.endswith("dataclass") and keywords & {"slots", "kw_only"}), (
            f"line {node.lineno}: dataclass(slots, kw_only) is of 3.10"
        )
        assert not (name == "isinstance" and isinstance(node.args[1], ast.BinOp)), (
            f"line {node.lineno}: isinstance(x, A | B) is of 3.10"
        )
