"""The Vagrantfile with libvirt: both machines made, provisioned, measured on from outside and inside, destroyed."""

from __future__ import annotations

import base64
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.vm import accelerator, box, engines, image, libvirt
from tests.vm.playbook import Say

pytestmark = pytest.mark.long
TOP = Path(__file__).parents[2]
LIMIT_S = 5400.0
"""For one command of Vagrant's; the emulated machines share the host's cores with other tests."""
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
"""Of the machines."""
VARIABLES = {
    # What is in the image: the machines have no way to a package mirror.
    "af_xdp_packages": ["libxdp-dev", "pkg-config", "xdp-tools"],
    # On shared cores a trial boot may take longer than on a machine of one's own.
    "boot_timeout_s": 3600,
    "boot_confirm_s": 3600,
}


class Vagrant:
    """Vagrant beside a libvirt of its own, with a home and a state of its own."""

    def __init__(self, daemon: libvirt.Libvirt, folder: Path, driver: str) -> None:
        self.daemon = daemon
        self.folder = folder
        self._log = folder / "vagrant.log"
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("LABKIT_", "VAGRANT_"))
        }
        variables = folder / "variables.yml"
        variables.write_text(yaml.safe_dump({"all": {"vars": VARIABLES}}))
        self._environment = {
            **own,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_HOME": str(folder / "ansible-home"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
            "VAGRANT_HOME": str(folder / "home"),
            "VAGRANT_DOTFILE_PATH": str(folder / ".vagrant"),
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder / "wheels"),
            "LABKIT_VAGRANT_BOX": "labkit",
            "LABKIT_VAGRANT_DRIVER": driver,
            "LABKIT_VAGRANT_INVENTORY": str(variables),
        }
        # Where labkit is run: topologies/vagrant.yml looks for its inventories there.
        (folder / "ansible").symlink_to(TOP / "ansible")

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run vagrant; all that it prints is in the log as well."""
        return self._run(["vagrant", *arguments], TOP, check)

    def labkit(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run labkit on the host of the machines."""
        return self._run([sys.executable, "-m", "labkit.cli", *arguments], self.folder, check)

    def _run(
        self, command: list[str], where: Path, check: bool, content: str = ""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.daemon.argv(*command, cwd=where),
            env=self._environment,
            input=content,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=LIMIT_S,
        )
        with self._log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\nended with {done.returncode}\n")
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)}: {done.stdout[-4000:]}{done.stderr[-4000:]}", pytrace=False)
        return done

    def ssh(self, machine: str, command: str) -> str:
        """Run a command in a machine."""
        return self.run("ssh", machine, "--command", command, "--no-tty").stdout

    def put(self, machine: str, content: bytes, command: str) -> None:
        """Hand bytes to a command in a machine."""
        there = ["vagrant", "ssh", machine, "--command", f"base64 -d | {command}", "--no-tty"]
        self._run(there, TOP, True, base64.b64encode(content).decode())

    def domains(self) -> set[str]:
        """The machines that libvirt knows."""
        return set(self.daemon.virsh("list", "--all", "--name").stdout.split())

    def volumes(self) -> set[str]:
        """The disks that it keeps."""
        listed = self.daemon.virsh("vol-list", "default", check=False).stdout.splitlines()[2:]
        return {line.split()[0] for line in listed if line.strip()}

    def networks(self) -> set[str]:
        """The networks that it has."""
        return set(self.daemon.virsh("net-list", "--all", "--name").stdout.split())


@dataclass(frozen=True)
class Machine:
    """One of its machines, as root."""

    vagrant: Vagrant
    name: str

    def run(self, command: str) -> engines.Printed:
        """See engines.Machine."""
        return SimpleNamespace(out=self.vagrant.ssh(self.name, f"sudo sh -c {shlex.quote(command)}"))

    def put(self, content: bytes, command: str) -> None:
        """See engines.Machine."""
        self.vagrant.put(self.name, content, f"sudo sh -c {shlex.quote(command)}")


@pytest.fixture
def vagrant(stock_image: image.Image, tmp_path: Path, say: Say) -> Iterator[Vagrant]:
    """Vagrant with the box; libvirt, its machines and its networks are gone afterwards."""
    for program, packages in (
        ("vagrant", "vagrant vagrant-libvirt (Debian 12)"),
        *((program, libvirt.PACKAGES) for program in libvirt.PROGRAMS),
    ):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"):
            pytest.skip(f"{program} is not installed: apt-get install --no-install-recommends {packages}")
    if os.geteuid() != 0:
        pytest.skip("a libvirt in namespaces of its own takes root")
    driver = "kvm" if "kvm" in accelerator.arguments(stock_image.kernel) else "qemu"
    daemon_folder = tmp_path / "libvirt"
    try:
        with libvirt.Libvirt(daemon_folder) as daemon:
            found = Vagrant(daemon, tmp_path, driver)
            wheels(tmp_path / "wheels", PYTHON[stock_image.suite])
            began = time.monotonic()
            file = box.build(stock_image, tmp_path)
            found.run("box", "add", "--name", "labkit", str(file))
            file.unlink()
            say(f"the box was made and added in {time.monotonic() - began:.0f} s")
            yield found
    finally:
        for large in (daemon_folder, tmp_path / "home"):
            shutil.rmtree(large, ignore_errors=True)


def wheels(folder: Path, python: str) -> None:
    """Fetch what role labkit_host packs for the machines: no package index is reached from beside libvirt."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    pip = [sys.executable, "-m", "pip", "--quiet", "download", "--dest", str(folder), "--only-binary=:all:"]
    there = [f"--platform=manylinux{glibc}_{platform.machine()}" for glibc in ("_2_28", "_2_17", "2014")]
    subprocess.run(
        [*pip, f"--python-version={python}", *there, *project["project"]["dependencies"]], check=True
    )
    subprocess.run([*pip, *project["build-system"]["requires"]], check=True)


def recap(output: str, machine: str) -> dict[str, int]:
    """The last recap of Ansible's about a machine."""
    lines = re.findall(rf"^[ ]*(?:\S+: )?{machine}[ ]+: (ok=.*)$", output, re.MULTILINE)
    assert lines, output[-3000:]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", lines[-1])}


def trial(printed: str) -> dict[str, object]:
    """What `labkit trial --json` measured, of which the proof holds."""
    found = json.loads(printed[printed.index("{") :])
    assert found["proof"]["proven"], found["proof"]
    measured: dict[str, object] = found["trial"]
    return measured


def measure_all(vagrant: Vagrant, say: Say) -> None:
    """The suite, from the host, as `tox -e perf -- --topology vagrant` runs it; function alone."""
    for name in ("tester", "dut"):
        engines.put(Machine(vagrant, name), vagrant.folder)
    began = time.monotonic()
    done = vagrant.labkit("run", "--quick", "--allow-invalid", "--topology", "vagrant", check=False)
    say(f"the quick suite took {time.monotonic() - began:.0f} s\n{done.stdout}")
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: a target was missed, on emulated CPUs
    [run] = (
        path for path in (vagrant.folder / "results").iterdir() if path.is_dir() and not path.is_symlink()
    )
    found = json.loads((run / "results.json").read_text())
    proven = {one["key"]["backend"] for one in found["measurements"] if one["proof"]["proven"]}
    assert proven >= {"af_packet", "xdp", "af_xdp"}
    assert set(found["environment"]["hosts"]) == {"tester", "dut"}


TRIAL = "trial --topology vagrant --backend af_packet --load 200pps --duration 2s --json"


def test_the_machines_are_made_provisioned_used_and_destroyed(vagrant: Vagrant, say: Say) -> None:
    began = time.monotonic()
    up = vagrant.run("up")
    took_s = time.monotonic() - began
    say(f"vagrant up took {took_s:.0f} s")
    assert {name.rpartition("_")[2] for name in vagrant.domains()} == {"tester", "dut"}
    emulated = "Without KVM the machines are emulated" in up.stdout + up.stderr
    assert emulated == (vagrant._environment["LABKIT_VAGRANT_DRIVER"] == "qemu")
    for machine in ("tester", "dut"):
        counts = recap(up.stdout, machine)
        assert counts["changed"] > 0 == counts["failed"] == counts["unreachable"]
        assert vagrant.ssh(machine, "hostname").strip() == machine
        assert "preempt=full" in vagrant.ssh(machine, "cat /proc/cmdline").split()

    began = time.monotonic()
    again = vagrant.run("up")
    provisioned = vagrant.run("provision")
    say(f"vagrant up and vagrant provision once more took {time.monotonic() - began:.0f} s")
    assert "PLAY RECAP" not in again.stdout
    for machine in ("tester", "dut"):
        counts = recap(provisioned.stdout, machine)
        assert counts["changed"] == counts["failed"] == counts["unreachable"] == 0, provisioned.stdout[-6000:]

    outside = trial(vagrant.labkit(*TRIAL.split()).stdout)
    say(f"from the host: {outside}")
    inside = trial(vagrant.ssh("tester", f"sudo labkit {TRIAL}"))
    say(f"from the tester: {inside}")
    for measured in (outside, inside):
        assert int(str(measured["received"])) > 0.5 * int(str(measured["sent"])) > 0, measured
    measure_all(vagrant, say)

    began = time.monotonic()
    vagrant.run("destroy", "--force")
    say(f"vagrant destroy took {time.monotonic() - began:.0f} s")
    assert vagrant.domains() == set()
    assert vagrant.networks() == set()
    assert [name for name in vagrant.volumes() if "box" not in name] == []
    gone = vagrant.labkit(*TRIAL.split(), check=False)
    assert gone.returncode == 2
    assert "run: vagrant up" in gone.stderr
