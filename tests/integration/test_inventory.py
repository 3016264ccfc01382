"""Inventories, as Ansible itself reads them for labkit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

READ = """
import sys
from labkit.doctor.host.desired import hosts, of_inventory, work_out

print(hosts(sys.argv[1]))
print(work_out(of_inventory("alpha", sys.argv[1])).connection["ansible_host"])
"""


def test_an_inventory_is_read_also_where_the_standard_input_does_not_block(tmp_path: Path) -> None:
    """As a process of pytest-xdist has it."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {alpha: {ansible_host: 192.0.2.1}}}\n")
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(inventory)],
        stdin=reading,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    os.close(reading)
    os.close(writing)
    assert done.stdout.splitlines() == ["['alpha']", "192.0.2.1"], done.stderr


REACHED = """
import sys
from labkit.session.destinations import destination

found = destination(sys.argv[2], [sys.argv[1]])
print(None if found is None else (found.address, *found.options[1::2]))
"""


def reached(inventory: Path, host: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """How labkit reaches a host of an inventory."""
    return subprocess.run(
        [sys.executable, "-c", REACHED, str(inventory), host],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_host_is_reached_as_ansible_reaches_it(tmp_path: Path) -> None:
    """By former names of variables, and by Ansible's configuration."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all: {hosts: {alpha: {ansible_ssh_host: 192.0.2.1, ansible_ssh_port: 2222, "
        "ansible_host_key_checking: false}}}\n"
    )
    done = reached(inventory, "alpha", ANSIBLE_REMOTE_USER="lab", ANSIBLE_PRIVATE_KEY_FILE="/keys/one")
    assert done.stdout.strip() == str(
        ("192.0.2.1", "Port=2222", "User=lab", "IdentityFile=/keys/one", "StrictHostKeyChecking=no")
    ), done.stderr


def test_only_ssh_leads_to_other_hosts(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all: {hosts: {alpha: {ansible_connection: winrm}, "
        "beta: {ansible_connection: ansible.builtin.local}}}\n"
    )
    assert reached(inventory, "beta").stdout.strip() == "None"
    done = reached(inventory, "alpha")
    assert f"{inventory}: host alpha: ansible_connection: expected ssh or local, got winrm" in done.stderr
