"""Tags and roles that a text names are there: a command with another tag changes nothing, and ends well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from labkit.doctor.host import HOST_CHECKS

CHECKOUT = Path(__file__).parents[2]
ANSIBLE = CHECKOUT / "ansible"
PLAYBOOKS = ("site.yml", "local.yml", "revert.yml")
RUNS = {"apply-local": "local.yml"}
PLAYBOOK = re.compile("|".join(map(re.escape, (*PLAYBOOKS, *RUNS))))
OF_NO_ROLE = "of_no_role"
"""That of the test which shows how Ansible takes a tag that is not there."""
OWN = Path(__file__).name
TEXTS = sorted(
    path
    for place in ("labkit", "ansible", "tests", "docs", "examples", "topologies", "findings")
    for path in (CHECKOUT / place).rglob("*")
    if path.suffix in {".py", ".yml", ".md", ".ini"} and path.name != OWN and "node_modules" not in path.parts
) + [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tox.ini", "Vagrantfile")]
# As it is typed, or as words of an argument list.
TAGS = re.compile(r"""--(?:skip-)?tags(?:[ =]|["'], ["'])([a-z_]+(?:,[a-z_]+)*)""")
ROLE = re.compile(r"\brole `?(\w+_\w+)\b|\broles? `(\w+)`")


def tags_in(node: object) -> Iterator[str]:
    """All tags of a playbook."""
    if isinstance(node, list):
        for inner in node:
            yield from tags_in(inner)
    elif isinstance(node, dict):
        given = node.get("tags", [])
        yield from [given] if isinstance(given, str) else given
        for inner in node.values():
            yield from tags_in(inner)


@cache
def tags(playbook: str) -> frozenset[str]:
    return frozenset(tags_in(yaml.safe_load((ANSIBLE / playbook).read_text(encoding="utf-8"))))


def unknown(text: str) -> list[str]:
    """Tags that no playbook has, or not the one that stands before them in the line."""
    wrong = []
    for line in text.splitlines():
        for found in TAGS.finditer(line):
            named = PLAYBOOK.findall(line[: found.start()])
            where = [RUNS.get(named[-1], named[-1])] if named else PLAYBOOKS
            known = frozenset[str]().union(*map(tags, where))
            wrong += [tag for tag in found[1].split(",") if tag not in known | {OF_NO_ROLE}]
    return wrong


def no_roles(text: str) -> list[str]:
    """Names of roles that are not there: with an underscore, or set as code."""
    named = [one or other for one, other in ROLE.findall(text)]
    return [name for name in named if not (ANSIBLE / "roles" / name).is_dir()]


def test_the_texts_name_tags_that_are_there() -> None:
    found = {str(path.relative_to(CHECKOUT)): unknown(path.read_text(encoding="utf-8")) for path in TEXTS}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_the_texts_name_roles_that_are_there() -> None:
    """In the probe's own texts a role is what a probe does; a test of the schema makes one up."""
    others = [path for path in TEXTS if path.name not in ("PROTOCOL.md", "test_validate.py")]
    found = {str(path.relative_to(CHECKOUT)): no_roles(path.read_text(encoding="utf-8")) for path in others}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_a_wrong_one_is_found() -> None:
    assert unknown("ansible-playbook -i X ansible/site.yml --tags onload,dpdk") == ["onload"]
    assert unknown("ansible/local.yml --tags trex; site.yml --tags trex") == ["trex"]
    assert unknown("ansible/apply-local --tags openonload") == ["openonload"]
    assert unknown('play("--tags", "nothing")') == ["nothing"]
    assert no_roles("the role lab_kit and the role `onload`, not the role that it has") == [
        "lab_kit",
        "onload",
    ]


def test_the_texts_have_some() -> None:
    found = [found for path in TEXTS for found in TAGS.findall(path.read_text(encoding="utf-8"))]
    assert len(found) > 20


@pytest.mark.parametrize("role", sorted({check.role for check in HOST_CHECKS}))
def test_the_role_that_fixes_a_host_check_is_a_tag(role: str) -> None:
    """`labkit doctor` prints it so."""
    assert role in tags("site.yml")
