"""The role openonload where systemd runs, with stand-ins for Onload and for the kernel's part (onload_stub.py)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onload_stub
import pytest
import yaml
from ansible_collections.labkit.host.plugins.module_utils import onload_install, onload_unit, snapshot
from systemd_container import systemd_container
from test_site_container import changed

pytestmark = pytest.mark.beside

HERE = ["util-linux"]
"""A package that every machine has: nothing is downloaded."""
FOLDER = "/root/archives"
INTERFACES = [{"name": "port0"}, {"name": "port-1"}]
UNITS = [onload_unit.unit(one["name"]) for one in INTERFACES]
LINKS = """
ip link add port0 numrxqueues 2 numtxqueues 2 type veth peer name peer0
ip link add port-1 type veth peer name peer1
"""
FILES = (
    "find /usr /etc /opt /lib/modules -xdev ( -name __pycache__ -prune ) -o -newer /root/began "
    "( -type f -printf %p\\n -o -type l -printf %p\\n )"
)


class Host:
    """One that systemd runs on, with archives in it."""

    def __init__(self, made, archives):
        self.made = made
        self.archives = archives
        self.runs = 0

    def site(self, version, *words, playbook="site.yml", **more):
        """Run a playbook with these variables."""
        self.runs += 1
        wanted = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "openonload_version": version,
            "openonload_sha256": self.archives.get(version, ""),
            "openonload_url": f"{FOLDER}/{version}.tar.gz",
            "openonload_packages": HERE,
            "openonload_interfaces": INTERFACES if version else [],
            **more,
        }
        inventory = f"/root/hosts-{self.runs}.yml"
        text = yaml.safe_dump({"all": {"hosts": {"localhost": wanted}}})
        self.made.run("sh", "-ec", f'printf %s "$1" >{inventory}', "sh", text)
        done = self.made.play(playbook, Path(inventory), "--tags", "openonload", *words)
        done.inventory = inventory
        return done

    def stamp(self):
        return json.loads(self.read(onload_install.STAMP))

    def read(self, path):
        return self.made.run("cat", path).stdout

    def answers(self, interface, how):
        """How the kernel answers a registration from now on."""
        self.made.run("sh", "-ec", f"echo {how} >/root/answers/{interface}")

    def active(self):
        return [self.made.run("systemctl", "is-active", unit).stdout.strip() for unit in UNITS]

    def loaded(self):
        return self.made.run("test", "-d", "/sys/module/sfc_resource").returncode == 0


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    place = tmp_path_factory.mktemp("archives")
    archives = {
        version: onload_stub.archive(place / f"{version}.tar.gz", version=version)
        for version in ("9.2.1", "10.0.0", "9.0.2")
    }
    kernel = tmp_path_factory.mktemp("kernel")
    onload_stub.kernel(kernel)
    with systemd_container(tmp_path_factory.mktemp("container")) as made:
        made.put(place, FOLDER)
        made.put(kernel, "/root")
        ready = made.run("sh", "-ec", onload_stub.SET_UP + LINKS)
        assert ready.returncode == 0, ready.stderr
        yield Host(made, archives)


def ended_well(done):
    assert done.returncode == 0, done.stdout[-4000:]
    return done


@pytest.fixture(scope="module")
def before(host):
    return host.made.snapshot()


@pytest.fixture(scope="module")
def made(host, before):
    """Onload is installed, and the interfaces are registered. The tests leave it so."""
    assert before
    predicted = ended_well(host.site("9.2.1", "--check"))
    assert not host.loaded()
    runs = predicted, ended_well(host.site("9.2.1")), ended_well(host.site("9.2.1"))
    assert host.active() == ["active", "active"]
    return runs


def test_check_mode_foretells_what_a_run_then_changes_and_a_second_run_changes_nothing(host, made):
    predicted, first, second = made

    print(changed(predicted), changed(first))
    assert changed(predicted) == changed(first)
    assert changed(second) == []
    assert len(host.read("/root/builds").splitlines()) == 1
