"""The role labkit_host on this machine, in check mode: what would make somebody root by mistake is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside

ANSIBLE = Path(__file__).parents[2] / "ansible"


def sudo_rule(user: str, *commands: str) -> str:
    """What is shown when the user should run these commands as root."""
    variables = {"labkit_host_user": user, "labkit_host_sudo_commands": commands, "role": "labkit_host"}
    done = subprocess.run(
        [
            *("ansible", "localhost", "--check", "-m", "ansible.builtin.include_role"),
            *("-a", "name=labkit_host tasks_from=sudo", "-e", json.dumps(variables)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )
    return re.sub(r"\s+", " ", done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("user", "commands"),
    [
        ("", ["/usr/local/bin/labkit"]),
        ("lab", []),
        ("lab", ["labkit"]),
        ("lab", ["/usr/local/bin/*"]),
        ("lab", ["/bin/true, ALL"]),
    ],
)
def test_rule_for_nobody_or_for_no_single_command_is_refused(user, commands):
    assert "expected labkit_host_user to be set, and labkit_host_sudo_commands to be absolute" in sudo_rule(
        user, *commands
    )


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_rule_for_what_others_could_change_is_refused(tmp_path, mode):
    command = tmp_path / "labkit"
    command.touch()
    command.chmod(mode)

    assert f"{command} can be changed by others than root" in sudo_rule("lab", str(command))


def test_rule_for_a_command_that_only_root_can_change_would_be_put_in_place():
    assert sudo_rule("lab", "/usr/bin/env").strip().endswith("localhost | CHANGED => changed: true")
