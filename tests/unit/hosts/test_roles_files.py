"""Files of roles that go once their variable is empty again, and those beside them that stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ANSIBLE = Path(__file__).parents[3] / "ansible"


def tasks(role):
    """All tasks of all roles that are noted as this role's, but for its revert: where they are, and they."""
    for path in sorted((ANSIBLE / "roles").glob("*/tasks/*.yml")):
        for task in yaml.safe_load(path.read_text()):
            named = [task[key] for key in task if key.startswith("labkit.host.")]
            if named and named[0].get("role") == role and path.stem != "revert":
                yield f"{path.parts[-3]}/{path.stem}", task


@pytest.mark.parametrize(
    ("role", "lead", "back", "asked"),
    [
        ("labkit_host", "labkit_host/sudo", "labkit_host/main", "not labkit_host_sudo"),
        ("labkit_host", "labkit_host/install", "labkit_host/remove", "not labkit_host_install"),
        ("dpdk", "dpdk/source", "dpdk/packaged", "dpdk_source_url | length == 0"),
    ],
)
def test_files_go_again_with_what_asked_for_them_and_no_others(role, lead, back, asked):
    files = [
        (at, task[f"labkit.host.{kind}"]["path"])
        for at, task in tasks(role)
        for kind in ("file", "tree")
        if f"labkit.host.{kind}" in task
    ]
    undoing = [task for at, task in tasks(role) if at == back and "labkit.host.revert" in task]
    [undone] = [task["labkit.host.revert"] for task in undoing]
    main = yaml.safe_load((ANSIBLE / "roles" / role / "tasks/main.yml").read_text())
    [when] = [
        task["when"] for task in main if task in undoing or f"{role}/{_imported(task)}" == f"{back}.yml"
    ]

    assert lead in dict(files)
    assert undone["only"] in (["file"], ["file", "tree"])
    stays = {path for at, path in files if at != lead and (_is_file(role, path) or "tree" in undone["only"])}
    assert set(undone.get("wanted", [])) == stays
    assert when == asked


def _is_file(role, path):
    return any(task.get("labkit.host.file", {}).get("path") == path for _, task in tasks(role))


def _imported(task):
    return task.get("ansible.builtin.import_tasks")
