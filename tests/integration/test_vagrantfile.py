"""The Vagrantfile, as Ruby and Vagrant read it, and what has to agree with it. No machine is made."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from labkit.lab.topology_file import load

TOP = Path(__file__).parents[2]
VAGRANTFILE = TOP / "Vagrantfile"


def needs(program: str, packages: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None,
        reason=f"{program} is not installed: apt-get install --no-install-recommends {packages}",
    )


def vagrant(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it with a home of its own, so that no box and no plugin of the user's counts."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LABKIT_", "VAGRANT_"))}
    environment = {**own, "VAGRANT_HOME": str(home), "VAGRANT_DOTFILE_PATH": str(home / "dot"), **variables}
    return subprocess.run(
        ["vagrant", *arguments],
        cwd=TOP,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@needs("ruby", "ruby")
def test_it_is_ruby() -> None:
    done = subprocess.run(
        ["ruby", "-cw", str(VAGRANTFILE)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")


@needs("vagrant", "vagrant vagrant-libvirt")
@pytest.mark.parametrize(("provider", "driver"), [("libvirt", "qemu"), ("virtualbox", "kvm")])
def test_vagrant_accepts_it(provider: str, driver: str, tmp_path: Path) -> None:
    variables = {"VAGRANT_DEFAULT_PROVIDER": provider, "LABKIT_VAGRANT_DRIVER": driver}
    # `--ignore-provider` is for the others that are not installed here.
    more = () if provider == "libvirt" else ("--ignore-provider",)
    done = vagrant(tmp_path, "validate", *more, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Vagrantfile validated successfully." in done.stdout
    assert done.stderr == ""


@needs("vagrant", "vagrant vagrant-libvirt")
@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("LABKIT_VAGRANT_CPUS", "two", "expected a number above zero, such as 2"),
        ("LABKIT_VAGRANT_DUT_MEMORY_MIB", "0", "expected a number above zero, such as 2048"),
        ("LABKIT_VAGRANT_DRIVER", "xen", "expected kvm or qemu"),
    ],
)
def test_a_wrong_setting_is_refused(variable: str, value: str, expected: str, tmp_path: Path) -> None:
    done = vagrant(tmp_path, "validate", **{variable: value})
    assert done.returncode == 2
    assert re.search(rf"Vagrantfile: LABKIT_VAGRANT_\w+={value}: {expected}", done.stderr), done.stderr


def test_its_ports_have_the_addresses_by_which_the_topology_knows_them() -> None:
    text = VAGRANTFILE.read_text()
    assert 'mac: "0200c6120#{index}0#{position + 1}"' in text
    links = load("vagrant").links
    assert [f'"{link.name}"' for link in links] == re.findall(
        r'"\w+"', re.sub(r".*CABLES = %w\[(\w+) (\w+)\].*", r'"\1" "\2"', text, flags=re.DOTALL)
    )
    found = [(link.tester.mac, link.dut.mac) for link in links]
    assert found == [
        tuple(f"02:00:c6:12:0{index}:0{position}" for position in (1, 2)) for index in range(len(links))
    ]


def test_what_a_machine_shall_be_is_right_for_the_roles(tmp_path: Path) -> None:
    from labkit.doctor.host.desired import of_inventory, work_out

    reached = tmp_path / "reached.yml"
    reached.write_text("all: {hosts: {tester: {ansible_host: 192.0.2.1}, dut: {ansible_host: 192.0.2.2}}}\n")
    for name in ("tester", "dut"):
        desired = work_out(of_inventory(name, reached, TOP / "ansible/inventory/vagrant.yml"))
        assert desired["lowlatency_kernel_flavour"] == "lowlatency"
        assert desired["labkit_host_install"] is True
