"""The plugin inside Ansible itself, and the example inventory, which shows every role and holds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ANSIBLE = Path(__file__).parents[3] / "ansible"
EXAMPLE = ANSIBLE / "inventory/example.yml"


def validate(folder, inventory, *arguments):
    """What ansible-playbook says of an inventory."""
    return play(
        folder, inventory, {"labkit.host.validate": {"roles_path": str(ANSIBLE / "roles")}}, *arguments
    )


def play(folder, inventory, task, *arguments):
    playbook = folder / "play.json"
    playbook.write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [{"name": "Do", **task}]}])
    )
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        str(inventory),
        *arguments,
        str(playbook),
    ]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_example_inventory_holds(tmp_path):
    done = validate(tmp_path, EXAMPLE)

    assert done.returncode == 0, done.stdout


def test_example_dut_has_these_kernel_arguments(tmp_path):
    answer = tmp_path / "answer.json"
    debian = {"distribution": "Debian", "os_family": "Debian", "architecture": "x86_64"}
    facts = {"cpu_isolation_present": "0-7", "ansible_facts": debian}
    wanted = {"roles_path": str(ANSIBLE / "roles"), "answer": str(answer), "facts": facts}

    done = play(tmp_path, EXAMPLE, {"labkit.host.desired": wanted}, "--limit", "dut.example")

    assert done.returncode == 0, done.stdout
    values = json.loads(answer.read_text())["values"]
    assert values["lowlatency_kernel_own_packages"] == ["linux-image-rt-amd64"]
    assert [
        *values["cpu_isolation_boot_arguments"],
        *values["hugepages_boot_arguments"],
        *values["dpdk_boot_arguments"],
    ] == [
        "isolcpus=managed_irq,domain,2-7",
        "nohz_full=2-7",
        "rcu_nocbs=2-7",
        "irqaffinity=0-1",
        "skew_tick=1",
        "intel_idle.max_cstate=1",
        "processor.max_cstate=1",
        "hugepagesz=1G",
        "hugepages=0:8",
        "intel_iommu=on",
        "iommu=pt",
    ]


@pytest.mark.parametrize(
    "role", ["lowlatency_kernel", "cpu_isolation", "hugepages", "dpdk", "af_xdp", "labkit_host"]
)
def test_example_inventory_shows_every_role(role):
    assert re.search(rf"^ +{role}_\w+:", EXAMPLE.read_text(), re.MULTILINE)


def test_mistake_is_reported_with_the_line_it_stands_in(tmp_path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"one": {"hugepages_minimum": "many"}}}}))

    done = validate(tmp_path, inventory)

    assert done.returncode == 2
    assert re.search(
        r"hugepages_minimum: found 'many', expected a whole number\..* \(/.*/hosts\.yml:4:26\)", done.stdout
    )


def test_template_that_cannot_be_worked_out_is_reported_with_its_variable(tmp_path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"one": {"af_xdp_bpffs": "{{ nosuch }}/bpf"}}}}))

    done = validate(tmp_path, inventory)

    assert done.returncode == 2
    assert "af_xdp_bpffs: it can't be worked out: 'nosuch' is undefined" in done.stdout


def test_templates_over_defaults_of_roles_are_worked_out_before_they_are_judged(tmp_path):
    inventory = tmp_path / "hosts.yml"
    variables = {"pages": 512, "hugepages_count": "{{ [pages, hugepages_minimum] | max }}"}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"one": variables}}}))

    assert validate(tmp_path, inventory).returncode == 0


def test_what_is_given_on_the_command_line_is_text_and_taken(tmp_path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {one: {}}}")

    done = validate(tmp_path, inventory, "-e", "hugepages_minimum=5 packages_remove=true")

    assert done.returncode == 0, done.stdout


def test_old_name_of_an_option_warns_with_the_line_it_stands_in(tmp_path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all:\n  hosts:\n    one:\n      hugepages_pools:\n"
        "        - {size_kib: 2048, count: 256, when: boot}\n    two:\n"
    )

    done = validate(tmp_path, inventory)

    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert done.returncode == 0, said
    assert said.count("hugepages_pools[0].when is the old name of scope: write scope: boot") == 1, said
    assert "DEPRECATION WARNING" in said
    assert "version 0.3.0" in said, said
    if "core 2.17" not in version() and "core 2.18" not in version():  # values know their place from 2.19 on
        assert f"{inventory}:5:" in said, said


def version():
    command = [str(Path(sys.executable).with_name("ansible")), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
