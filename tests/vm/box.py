"""A box for Vagrant, made of the guest's image: what Vagrant expects of one is written into its file system."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from labkit.lab.topology_file import load
from tests.vm.image import DISK_MIB, Image

OFFSET = 1 << 20
"""Of its only partition."""
USER = "lab"
VAGRANTFILE = f"""\
Vagrant.configure("2") do |config|
  config.ssh.username = "{USER}"
  config.ssh.private_key_path = File.expand_path("key", __dir__)
  config.ssh.insert_key = false
end
"""
DHCP = """\
[Match]
Name=en*
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
ClientIdentifier=mac
"""
"""By its MAC address: all machines of one image have the same machine id, and would get the same address."""


def build(image: Image, folder: Path) -> Path:
    """The box's file."""
    box = folder / "labkit.box"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        raw = work / "disk.raw"
        _run("qemu-img", "convert", "-q", "-O", "raw", str(image.disk), str(raw))
        _write(raw, work, {"20-data.network": unmanaged(), "30-management.network": DHCP})
        _run("qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(work / "box.img"))
        raw.unlink()
        metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_MIB // 1024}
        (work / "metadata.json").write_text(json.dumps(metadata))
        (work / "Vagrantfile").write_text(VAGRANTFILE)
        shutil.copy(image.key, work / "key")
        with tarfile.open(box, "w") as archive:
            for name in ("metadata.json", "Vagrantfile", "key", "box.img"):
                archive.add(work / name, name)
    return box


def unmanaged() -> str:
    """As boxes have it, the first interface asks for an address, and the others are nobody's."""
    ports = [port.mac for link in load("vagrant").links for port in (link.tester, link.dut)]
    return f"[Match]\nMACAddress={' '.join(ports)}\n[Link]\nUnmanaged=yes\n"


def _write(raw: Path, work: Path, files: dict[str, str]) -> None:
    """Add settings of systemd-networkd to the file system, which is not mounted: that would take loop devices."""
    commands = work / "commands"
    lines = []
    for name, text in files.items():
        (work / name).write_text(text)
        (work / name).chmod(0o644)
        lines.append(f"write {work / name} /etc/systemd/network/{name}\n")
    commands.write_text("".join(lines))
    _run("debugfs", "-w", "-f", str(commands), f"{raw}?offset={OFFSET}")
    for name in files:  # it ends with 0, whatever happened
        listed = _run("debugfs", "-R", f"cat /etc/systemd/network/{name}", f"{raw}?offset={OFFSET}")
        if listed != files[name]:
            raise AssertionError(f"{name} is not in the image: {listed!r}")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
