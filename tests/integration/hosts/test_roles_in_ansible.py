"""Tasks of roles inside Ansible itself, in check mode, with answers of modules that a test gives."""

from __future__ import annotations

import json
import re

import pytest
from test_validate_inventory import ANSIBLE, play

HERE = "localhost ansible_connection=local ansible_python_interpreter={{ansible_playbook_python}}\n"


@pytest.fixture
def run(tmp_path):
    """Run some tasks of a role on this machine. Extra variables win over what a task registers."""
    (tmp_path / "hosts").write_text(HERE)

    def run(role, tasks, *words, **answers):
        task = {"ansible.builtin.import_role": {"name": str(ANSIBLE / "roles" / role), "tasks_from": tasks}}
        more = [argument for word in (*words, json.dumps(answers)) for argument in ("-e", word)]
        return play(tmp_path, tmp_path / "hosts", task, "--check", *more)

    return run


@pytest.mark.parametrize("word", ["packages_remove=false", '{"packages_remove": false}'])
def test_packages_that_are_to_stay_do_stay(run, word):
    done = run("packages", "revert", word, packages_of=["nobodys_role"])

    assert done.returncode == 0, done.stdout
    assert "nobodys_role" not in done.stdout
    assert "nobodys_role" in run("packages", "revert", packages_of=["nobodys_role"]).stdout


TRIAL = {"boot_roles": [], "boot_found": {"needed": "trial", "reasons": ["isolcpus=1 is not there"]}}


def test_machine_that_ansible_runs_on_is_not_rebooted(run):
    done = run("boot", "main", **TRIAL, lowlatency_kernel_own_packages=[])

    assert done.returncode != 0
    assert "isolcpus=1 is not there. It takes a reboot, and Ansible runs on this machine" in done.stdout
    assert "Select it for the next boot only" not in done.stdout


@pytest.mark.parametrize("word", ["boot_reboot=false", '{"boot_reboot": false}'])
def test_without_leave_to_reboot_what_remains_is_said(run, word):
    done = run("boot", "main", word, **TRIAL, lowlatency_kernel_own_packages=[])

    assert done.returncode == 0, done.stdout
    assert "isolcpus=1 is not there. It takes a reboot: run this again" in done.stdout


@pytest.mark.parametrize("reboot", ["true", "false"])
def test_revert_of_the_machine_that_ansible_runs_on_asks_for_the_reboot(run, reboot):
    done = run("boot", "revert", f"boot_reboot={reboot}", boot_reverted={"reboot": True})

    assert done.returncode != 0
    assert "reboot it (by hand: Ansible runs on this machine itself) and revert again" in done.stdout


def test_dpdk_from_its_source_is_predicted_to_the_last_file(run, tmp_path):
    prefix = tmp_path / "not/built"

    done = run(
        *("dpdk", "source"),
        dpdk_source_url="/dpdk.tar.xz",
        dpdk_source_version="0.labkit",
        dpdk_source_sha256="0" * 64,
        dpdk_source_prefix=str(prefix),
    )

    assert done.returncode == 0, done.stdout
    changes = re.findall(r"^changed: (.*)", done.stdout, re.MULTILINE)
    assert len(changes) == 6, done.stdout
    assert changes[1:3] == [f"[localhost] => (item={name})" for name in ("libdpdk.pc", "libdpdk-libs.pc")]


REFUSED = "can be changed by others than root"


@pytest.mark.parametrize("place", ["theirs/labkit", "theirs/bin/labkit", "link/labkit", "labkit"])
def test_no_sudo_rule_for_what_others_could_put_there(run, tmp_path, place):
    """Whether it is there yet or not: /tmp is everybody's, and so is a folder below it."""
    (tmp_path / "theirs/bin").mkdir(parents=True)
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "theirs/bin/labkit").touch(mode=0o755)
    (tmp_path / "link").symlink_to("theirs")
    command = str(tmp_path / place)

    done = run("labkit_host", "sudo", labkit_host_user="lab", labkit_host_sudo_commands=[command])

    assert done.returncode != 0
    assert f"{command} {REFUSED}" in done.stdout
    assert ("drwxrwxrwx" in done.stdout) is (place != "labkit")


@pytest.mark.parametrize("command", ["/usr/bin/env", "/usr/bin/awk", "/usr/bin/no-such/labkit"])
def test_sudo_rule_for_what_only_root_can_put_there(run, command):
    """A program, one behind links whose own mode is 0777, and one that is not there yet."""
    done = run("labkit_host", "sudo", labkit_host_user="lab", labkit_host_sudo_commands=[command])

    assert REFUSED not in done.stdout
    assert "Refuse commands that others than root can change" in done.stdout
