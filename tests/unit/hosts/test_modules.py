"""What `ansible-doc` prints of a module is what the module takes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

MODULES = sorted(
    (Path(__file__).parents[3] / "ansible/collections/ansible_collections/labkit/host/plugins/modules").glob(
        "*.py"
    )
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documentation_names_the_options_that_there_are(path):
    tree = ast.parse(path.read_text())
    told = {
        node.targets[0].id: yaml.safe_load(ast.literal_eval(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("DOCUMENTATION", "RETURN")
    }
    specs = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "argument_spec" and isinstance(node.value, ast.Dict)
    ]

    assert told["DOCUMENTATION"]["module"] == path.stem
    for spec in specs:  # of an action plugin there is none here
        documented = set(told["DOCUMENTATION"].get("options", {}))
        named = {ast.literal_eval(key) for key in spec.keys if key is not None}
        assert named <= documented
        assert named == documented or None in spec.keys, "None: some are added by **"
