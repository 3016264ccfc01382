"""A stock machine: what cannot come right is refused unchanged, and a bad kernel takes nothing with it."""

from __future__ import annotations

from tests.vm.guest import Guest
from tests.vm.playbook import Playbooks, Say

MISTAKES = {
    # Variables, and what must be told of them.
    "cpu_isolation_cpus": ("1-7", "there is no core 3-7"),
    "hugepages_pools": ([{"size_kib": 2048, "count": 100000, "when": "boot"}], "more than there is"),
    "dpdk_devices": (
        [{"pci": "0000:00:02.0", "driver": "vfio-pci"}, {"pci": "0000:00:03.0", "driver": "vfio-pci"}],
        "0000:00:02.0",
    ),
    "nic_tuning_interfaces": ([{"name": "nosuch0", "rings": {"rx": 512}}], "nosuch0"),
}


def test_every_mistake_is_told_at_once_and_nothing_is_changed(dut: Guest, stock, playbooks: Playbooks):
    playbooks.host(dut, {name: value for name, (value, _) in MISTAKES.items()})

    played = playbooks.play("site.yml")

    assert played.code != 0
    for name, (_, told) in MISTAKES.items():
        assert name in played.text, played.output
        assert told in played.text, played.output
    assert "SSH connection" in played.text, "the management NIC was not refused for what it is"
    assert "0000:00:03.0" in played.text, "a disk was taken for a NIC"
    assert played.count("dut", "changed") == 0
    assert dut.run("ls /var/lib/labkit", check=False).code != 0, "something was written down, so changed"


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


def test_a_kernel_that_panics_brings_the_host_back_on_the_old_one(
    dut: Guest, stock, playbooks: Playbooks, say: Say
):
    """Steps: have the role install and boot a kernel with an empty initrd. Verify: the old one runs, as default."""
    release = dut.run("uname -r").out.strip()
    boot = dut.wait()
    dut.run(PACKAGE)
    playbooks.host(
        dut,
        {
            "lowlatency_kernel_packages": [f"linux-image-{PANICS}"],
            "lowlatency_kernel_release": PANICS,
            "boot_panic_s": 5,
        },
    )

    played = playbooks.play("site.yml", "--tags", "lowlatency_kernel,boot")
    say(f"the panic and the way back took {played.took_s:.0f} s")

    assert played.code != 0
    assert "Kernel panic - not syncing" in dut.console(), "the bad kernel was never booted"
    assert dut.wait() != boot, "it never rebooted"
    assert dut.run("uname -r").out.strip() == release
    assert f"the host is back by itself on kernel {release}" in played.text, played.output[-3000:]
    # The next boot is the old kernel too, although the other one is newer, and there.
    assert "next_entry=labkit" not in dut.run("cat /boot/grub/grubenv", check=False).out
    boot = dut.wait()
    dut.run("systemctl reboot", check=False)
    dut.wait(other_than=boot)
    assert dut.run("uname -r; ls /boot").out.splitlines()[0] == release

    back = playbooks.play("revert.yml")
    assert back.code == 0, back.output[-3000:]
    assert PANICS not in dut.run("ls /boot").out
    dut.run("rm -r /root/repository /etc/apt/sources.list.d/panics.list /var/lib/apt/lists/_root_repository*")
