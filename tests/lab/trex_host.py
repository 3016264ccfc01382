"""A host that systemd runs on, reached by SSH, where the role trex installs a stand-in for TRex's server that sends."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from systemd_container import SystemdContainer, systemd_container

from labkit.testers.trex.environment import client_python
from tests.lab.ssh_host import Place, controller, install, lab_on_nics, prepare, server
from tests.trex_server import Behaviour

NO_PACKAGES = ["util-linux"]
"""What every machine has: nothing is downloaded."""
ARCHIVES = "/root/archives"
FOLDER = "/opt/trex"
NOT_SEEN = ("/root", "/home", "/tmp", "/run", "/var/tmp")
"""What a unit of the role does not see, or has of its own."""


def python() -> str:
    """A Python that the unit sees. Skips where there is none."""
    found = os.path.realpath(sys.executable)
    if found.startswith(NOT_SEEN):
        pytest.skip(f"a unit does not see {found}, by which a stand-in for TRex would run")
    return found


def archive(place: Path, version: str, behaviour: Behaviour) -> str:
    """Write an archive with the stand-in, and the packages that it needs, to `place`; its checksum."""
    needed = [Path(importlib.util.find_spec(name).origin).parent for name in ("zmq", "yaml", "hdrh")]
    needed += [one for name in ("pyzmq.libs", "pyhdrh*") for one in needed[0].parent.glob(name)]
    program = (
        f"#!{python()}\nimport sys\nfrom pathlib import Path\n"
        "here = Path(__file__).parent\nsys.path[:0] = [str(here), str(here / 'packages')]\n"
        "from trex_server import serve\nsys.exit(serve(sys.argv))\n"
    )
    files = {
        "_t-rex-64": program,
        "behaviour.json": json.dumps(asdict(behaviour)),
        "so/x86_64/libnothing.so": "",
        "trex_server.py": (Path(__file__).parents[1] / "trex_server.py").read_text(),
    }
    folder = place.parent / version
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    with tarfile.open(place, "w:gz", compresslevel=1) as packed:
        packed.add(folder, version)
        for one in needed:
            packed.add(one, f"{version}/packages/{one.name}", filter=_sources)
    return hashlib.sha256(place.read_bytes()).hexdigest()


def _sources(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name or "/tests" in member.name else member


class TrexHost:
    """The tester's host, and `here`, where labkit runs and the DUT is; a veth pair is the cable between their nic0."""

    def __init__(self, folder: Path, made: SystemdContainer) -> None:
        self.folder = folder
        self.made = made
        prepare(folder)
        self._let_in()
        # Built for SSH hosts that are namespaces; this one has the same way in.
        place: Any = self
        self.enter = made.enter
        ssh = (
            f"Host far\n User root\n IdentityFile {folder}/key\n StrictHostKeyChecking no\n LogLevel ERROR\n"
            f" UserKnownHostsFile /dev/null\n ProxyUseFdpass yes\n ProxyCommand {server(place)}\n"
        )
        (folder / "config").write_text(ssh)
        self.here: Place = controller(folder)
        ends = [str(self.here.process.pid), str(made.pid)]
        self.ip(
            "link",
            "add",
            "nic0",
            "netns",
            ends[0],
            *["type", "veth", "peer", "name", "nic0", "netns"],
            ends[1],
        )
        used = "ip link set nic0 up; sleep 0.1; ip link set nic0 down"  # once: the kernel keeps its queue discipline
        self.here.run("sh", "-ec", used)
        self.run("sh", "-ec", used)
        self.topology = folder / "lab.yml"
        self.topology.write_text(json.dumps(lab_on_nics(tester="far", dut="here"), indent=1))

    @staticmethod
    def ip(*words: str) -> None:
        """ip(8)."""
        subprocess.run(["ip", *words], check=True)

    def _let_in(self) -> None:
        """SSH, labkit, and the settings of its network."""
        install(self.folder)
        self.made.put(self.folder / "bin", "/usr/sbin")
        for name in ("server", "key.pub"):
            self.made.run("mkdir", "-p", str(self.folder))
            text = (self.folder / name).read_bytes()
            subprocess.run(
                [*self.made.enter, "sh", "-ec", f"umask 77; cat >{self.folder / name}"],
                input=text,
                check=True,
            )
        done = self.made.run(
            "sh",
            "-ec",
            f"install -d -m 700 /root/.ssh; install -m 600 {self.folder}/key.pub /root/.ssh/authorized_keys; "
            "mount -o remount,bind,rw /proc/sys",
        )
        assert done.returncode == 0, done.stderr

    def run(self, *command: str) -> str:
        """What a command prints there."""
        done = self.made.run(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def site(self, version: str, sha256: str, playbook: str = "site.yml") -> None:
        """Have the role install this version, and start nothing."""
        wanted = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "labkit_host_packages": NO_PACKAGES,
            "dpdk_packages": NO_PACKAGES,
            "af_xdp_packages": NO_PACKAGES,
            "trex_version": version,
            "trex_sha256": sha256,
            "trex_url": f"{ARCHIVES}/{version}.tar.gz",
        }
        text = yaml.safe_dump({"all": {"hosts": {"localhost": wanted}}})
        inventory = "/root/trex-hosts.yml"
        self.run("sh", "-ec", f'printf %s "$1" >{inventory}', "sh", text)
        done = self.made.play(playbook, Path(inventory), "--tags", "trex")
        assert done.returncode == 0, done.stdout[-4000:]

    def put_archive(self, file: Path) -> None:
        """Copy an archive there."""
        self.run("mkdir", "-p", ARCHIVES)
        with file.open("rb") as opened:
            subprocess.run(
                [*self.made.enter, "sh", "-c", f"cat >{ARCHIVES}/{file.name}"], stdin=opened, check=True
            )

    def argv(self, *arguments: str) -> list[str]:
        """labkit where the DUT is."""
        labkit = [*self.here.enter, sys.executable, "-m", "labkit.cli"]
        return [*labkit, *arguments, "--topology", str(self.topology)]

    def trial(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`labkit trial` with TRex as the tester."""
        return subprocess.run(
            self.argv("trial", "--tester", "trex", *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def left(self) -> str:
        """What a lab could leave there."""
        return self.run(
            "sh",
            "-c",
            "ls /run/labkit-trex* /run/systemd/system/labkit* 2>/dev/null; pgrep -lf '[_]t-rex-64|[t]rex/worker.py'; "
            "systemctl list-units --all --plain --no-legend 'labkit-trex*'; ip -json address; "
            "ip -json -details link show nic0 | tr , '\\n'; labkit status 2>&1",
        )

    def end(self) -> None:
        """The controller's namespace goes."""
        self.here.end()


@contextmanager
def trex_host(folder: Path) -> Iterator[TrexHost]:
    """Make both. Its client is installed first: that host reaches no package index."""
    client_python()
    (folder / "ssh").mkdir()
    with systemd_container(folder) as made:
        host = TrexHost(folder / "ssh", made)
        try:
            yield host
        finally:
            host.end()
