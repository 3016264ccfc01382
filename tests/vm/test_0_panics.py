"""A kernel that does not boot takes nothing with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import image
from tests.vm.guest import Guest
from tests.vm.playbook import Playbooks, Say

pytestmark = pytest.mark.long
PANICS = "99.0.0-panics"
"""A release newer than any: without a pin GRUB would make it the default as soon as it is installed."""
PACKAGE = f"""
set -e
mkdir -p /root/repository/package/DEBIAN /root/repository/package/boot
cd /root/repository
cp /boot/vmlinuz-$(uname -r) package/boot/vmlinuz-{PANICS}
cp /boot/config-$(uname -r) package/boot/config-{PANICS}
head -c 4096 /dev/zero >package/boot/initrd.img-{PANICS}
printf '%s\\n' 'Package: linux-image-{PANICS}' 'Version: 1' 'Architecture: amd64' \\
    'Maintainer: labkit tests <tests@example.org>' 'Description: kernel whose initrd is empty' >package/DEBIAN/control
printf '#!/bin/sh\\nupdate-grub\\n' | tee package/DEBIAN/postinst >package/DEBIAN/postrm
chmod 0755 package/DEBIAN/postinst package/DEBIAN/postrm
dpkg-deb -Znone --build package kernel.deb >/dev/null
( cat package/DEBIAN/control; echo 'Filename: ./kernel.deb'; echo "Size: $(stat -c %s kernel.deb)"
  echo "SHA256: $(sha256sum kernel.deb | cut -d' ' -f1)" ) >Packages
echo 'deb [trusted=yes] file:/root/repository ./' >/etc/apt/sources.list.d/panics.list
apt-get -qq update -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/panics.list -o Dir::Etc::sourceparts=- \\
    -o APT::Get::List-Cleanup=0
"""


@pytest.fixture
def host(stock_image: image.Image, folder: Path, say: Say) -> Iterator[Guest]:
    """A stock machine of its own."""
    with Guest("panicking", stock_image, cpus=1, memory_mib=1024, log=folder / "panicking.console") as guest:
        guest.wait()
        say("the machine that will panic is up")
        yield guest


def test_a_kernel_that_panics_brings_the_host_back_on_the_old_one(
    host: Guest, playbooks: Playbooks, say: Say
):
    """Steps: have the role install and boot a kernel with an empty initrd. Verify: the old one runs, as default."""
    release = host.run("uname -r").out.strip()
    boot = host.wait()
    host.run(PACKAGE)
    playbooks.host(
        host,
        {
            "lowlatency_kernel_packages": [f"linux-image-{PANICS}"],
            "lowlatency_kernel_release": PANICS,
            "boot_panic_s": 5,
        },
    )

    played = playbooks.play("site.yml", "--limit", host.name, "--tags", "lowlatency_kernel,boot")
    say(f"the panic and the way back took {played.took_s:.0f} s")

    assert played.code != 0
    assert "Kernel panic - not syncing" in host.console(), "the bad kernel was never booted"
    assert host.wait() != boot, "it never rebooted"
    assert host.run("uname -r").out.strip() == release
    assert f"the host is back by itself on kernel {release}" in played.text, played.output[-3000:]
    # The next boot is the old kernel too, although the other one is newer, and there.
    assert "next_entry=labkit" not in host.run("cat /boot/grub/grubenv", check=False).out
    boot = host.wait()
    host.run("systemctl reboot", check=False)
    host.wait(other_than=boot)
    assert host.run("uname -r; ls /boot").out.splitlines()[0] == release

    back = playbooks.play("revert.yml", "--limit", host.name)
    assert back.code == 0, back.output[-3000:]
    assert PANICS not in host.run("ls /boot").out

    again = playbooks.play("revert.yml", "--limit", host.name)
    assert (again.code, again.count("panicking", "changed")) == (0, 0), "there was nothing left to put back"
