"""Tasks that wait for a host to come back: a connection that died with the host must not make them wait for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ANSIBLE = Path(__file__).parents[3] / "ansible"
WAITING = ("ansible.builtin.reboot", "ansible.builtin.wait_for_connection")


def waiting() -> Iterator[tuple[str, dict[str, Any]]]:
    """All such tasks, in blocks as well: where they are, and they."""

    def each(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for task in tasks:
            for part in ("block", "rescue", "always"):
                yield from each(task.get(part) or [])
            yield task

    for path in sorted(ANSIBLE.rglob("*.yml")):
        if path.parent.name != "tasks":
            continue
        for task in each(yaml.safe_load(path.read_text()) or []):
            if any(name in task for name in WAITING):
                yield f"{path.parts[-3]}/{path.name}: {task['name']}", task


def test_a_connection_that_died_with_the_host_is_noticed() -> None:
    found = dict(waiting())
    assert len(found) >= 4
    for where, task in found.items():
        assert task.get("vars", {}).get("ansible_ssh_extra_args") == "{{ boot_ssh_extra_args }}", where
    variables = yaml.safe_load((ANSIBLE / "roles/boot/vars/main.yml").read_text())
    assert "ServerAliveInterval=" in variables["boot_ssh_extra_args"]


def test_each_attempt_after_a_reboot_takes_a_new_connection() -> None:
    """Ansible's reboot keeps the old one, which knows nothing of that option, unless it has a time to connect in."""
    for where, task in waiting():
        if "ansible.builtin.reboot" in task:
            assert task["ansible.builtin.reboot"].get("connect_timeout"), where
