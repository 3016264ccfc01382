"""What `ansible-doc` prints of a module is what the module takes and returns."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

MODULES = sorted(
    (Path(__file__).parents[3] / "ansible/collections/ansible_collections/labkit/host/plugins/modules").glob(
        "*.py"
    )
)
TEXTS = ("DOCUMENTATION", "EXAMPLES", "RETURN")
COMMON = {"changed", "diff"}
"""Return values that every module may have; so may a failed one `msg`."""
KEYWORDS = {"name", "register", "when", "loop", "vars", "failed_when", "changed_when", "become"}
"""Of a task beside its module."""


def texts(source: str) -> dict[str, Any]:
    """The three texts of a module, parsed."""
    return {
        node.targets[0].id: yaml.safe_load(ast.literal_eval(node.value))
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in TEXTS
    }


def returned(source: str) -> set[str] | None:
    """Keys that a module ends with; None: it ends nowhere, as what documents an action plugin."""
    tree = ast.parse(source)
    ends = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("exit_json", "fail_json")
    ]
    if not ends:
        return None
    keys: set[str] = set()
    for end in ends:
        keys |= {
            keyword.arg
            for keyword in end.keywords
            if keyword.arg and not (keyword.arg == "msg" and end.func.attr == "fail_json")
        }
        if any(keyword.arg is None for keyword in end.keywords):  # **result: dicts that a function returns
            keys |= {
                ast.literal_eval(key)
                for node in ast.walk(tree)
                if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict)
                for key in node.value.keys
            }
    return keys - COMMON


def wrong_task(name: str, task: object, options: Mapping[str, Any], others: set[str]) -> Iterator[str]:
    """All that is wrong with one task of a module's examples."""
    if not isinstance(task, dict) or not task.get("name"):
        yield f"{task}: expected a task with a name"
        return
    modules = [key for key in task if key not in KEYWORDS]
    if len(modules) != 1 or modules[0] not in others:
        yield f"{modules}: expected one module out of {sorted(others)}"
        return
    if modules[0] == f"labkit.host.{name}":
        yield from wrong_options(task[modules[0]] or {}, options)


def wrong_options(given: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    if unknown := set(given) - set(options):
        yield f"not documented: {sorted(unknown)}"
    if missing := {key for key, option in options.items() if option.get("required")} - set(given):
        yield f"required: {sorted(missing)}"
    for key in set(given) & set(options):
        choices = options[key].get("choices")
        if choices and given[key] not in choices:
            yield f"{key}: {given[key]}, expected one of {choices}"
        for one in given[key] if options[key].get("suboptions") else ():
            yield from wrong_options(one, options[key]["suboptions"])


def wrong(name: str, source: str) -> list[str]:
    """All that is wrong with a module's documentation."""
    written = texts(source)
    if missing := set(TEXTS) - set(written):
        return [f"there is no {', '.join(sorted(missing))}"]
    options = written["DOCUMENTATION"].get("options") or {}
    examples = written["EXAMPLES"]
    if not isinstance(examples, list):
        return ["EXAMPLES: expected a list of tasks"]
    others = {"ansible.builtin.debug", *(f"labkit.host.{path.stem}" for path in MODULES)}
    found = [text for task in examples for text in wrong_task(name, task, options, others)]
    if not any(isinstance(task, dict) and f"labkit.host.{name}" in task for task in examples):
        found.append("EXAMPLES: no task has the module itself")
    values = written["RETURN"] or {}
    found += [
        f"RETURN: {key}: expected description, type and returned"
        for key, value in values.items()
        if not {"description", "type", "returned"} <= set(value)
    ]
    keys = returned(source)
    if keys is not None and keys != set(values):
        found.append(f"RETURN: {sorted(values)}, and the module returns {sorted(keys)}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documentation_names_the_options_that_there_are(path):
    source = path.read_text()
    documentation = texts(source)["DOCUMENTATION"]
    specs = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword) and node.arg == "argument_spec" and isinstance(node.value, ast.Dict)
    ]

    assert documentation["module"] == path.stem
    for spec in specs:  # of an action plugin there is none here
        documented = set(documentation.get("options", {}))
        named = {ast.literal_eval(key) for key in spec.keys if key is not None}
        assert named <= documented
        assert named == documented or None in spec.keys, "None: some are added by **"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_and_return_values_are_those_of_the_module(path):
    assert wrong(path.stem, path.read_text()) == []


def test_all_modules_are_there():
    assert len(MODULES) == 29


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("    service: realtime-kernel", "    servise: realtime-kernel", "not documented: ['servise']"),
        ("    service: realtime-kernel\n", "", "required: ['service']"),
        ("labkit.host.ubuntu_pro:", "labkit.host.ubuntu:", "['labkit.host.ubuntu']: expected one module"),
        ("- name: Enable access to Ubuntu's", "- title: Enable access to Ubuntu's", "a task with a name"),
        ("changed=changed)", "changed=changed, more=1)", "the module returns ['more']"),
        ("RETURN = ", "RETURNS = ", "there is no RETURN"),
    ],
)
def test_documentation_that_is_wrong_is_found(old, new, found):
    [path] = [path for path in MODULES if path.stem == "ubuntu_pro"]
    source = path.read_text()
    assert old in source

    assert found in "\n".join(wrong("ubuntu_pro", source.replace(old, new)))
