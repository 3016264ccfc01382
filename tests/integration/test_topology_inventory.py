"""Labs that name their inventory, as Ansible reads it for labkit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid
from labkit.lab.topology_file import parse
from labkit.progress import Silent
from labkit.session.machines import Machines

LAB = """\
description: a lab
backends: [kernel]
hosts: {dut: alpha}
inventory: %s
links:
  - name: first
    kind: nic
    tester: {interface: eth1, ipv4: 198.18.0.1/24}
    dut: {interface: eth1, ipv4: 198.18.0.2/24}
"""


def inventory(folder: Path, address: str) -> Path:
    path = folder / f"{address}.yml"
    path.write_text(f"all: {{hosts: {{alpha: {{ansible_host: {address}}}}}}}\n")
    return path


def test_its_hosts_are_found_in_it(tmp_path: Path) -> None:
    inventory(tmp_path, "192.0.2.1")
    lab = parse(LAB % "192.0.2.1.yml", tmp_path / "lab.yml")
    machines = Machines((), wait_s=0, progress=Silent())

    machines.find([lab])

    destination = machines._destination("alpha")
    assert destination is not None
    assert destination.address == "192.0.2.1"


def test_the_inventory_that_the_user_chose_wins(tmp_path: Path) -> None:
    inventory(tmp_path, "192.0.2.1")
    lab = parse(LAB % "192.0.2.1.yml", tmp_path / "lab.yml")
    machines = Machines((str(inventory(tmp_path, "192.0.2.2")),), wait_s=0, progress=Silent())

    machines.find([lab])

    destination = machines._destination("alpha")
    assert destination is not None
    assert destination.address == "192.0.2.2"


def test_one_name_for_two_machines_is_refused(tmp_path: Path) -> None:
    labs = []
    for number in (1, 2):
        inventory(tmp_path, f"192.0.2.{number}")
        labs.append(parse(LAB % f"192.0.2.{number}.yml", tmp_path / f"lab{number}.yml"))
    with pytest.raises(ConfigInvalid, match=r"lab2\.yml: the host alpha is another one in another topology"):
        Machines((), wait_s=0, progress=Silent()).find(labs)


@pytest.mark.parametrize("verb", [["trial", "--backend", "xdp"], ["run"]])
def test_without_its_machines_the_lab_of_vagrant_says_what_to_run(verb: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labkit.cli", *verb, "--topology", "vagrant"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "vagrant.yml:9: inventory: no such file or folder: .vagrant/provisioners" in said
    assert "run: vagrant up" in said
