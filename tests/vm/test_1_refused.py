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


def test_a_kernel_that_panics_brings_the_host_back_on_the_old_one(
    dut: Guest, stock, playbooks: Playbooks, say: Say
):
    """Steps: install a kernel whose initrd is broken; let the role boot it. Verify: the old one runs and is default."""
    release = dut.run("uname -r").out.strip()
    bad = f"{release}-panics"
    boot = dut.wait()
    dut.run(
        f"cp /boot/vmlinuz-{release} /boot/vmlinuz-{bad}; cp /boot/config-{release} /boot/config-{bad}; "
        f"head -c 4096 /dev/zero > /boot/initrd.img-{bad}; cp -r /lib/modules/{release} /lib/modules/{bad}"
    )
    menu = dut.run("sha256sum /etc/default/grub; cat /etc/default/grub.d/* 2>/dev/null", check=False).out
    playbooks.host(dut, {"lowlatency_kernel_release": bad, "boot_panic_s": 5})

    played = playbooks.play("site.yml", "--tags", "lowlatency_kernel,boot")
    say(f"the panic and the way back took {played.took_s:.0f} s")

    assert played.code != 0
    assert "Kernel panic - not syncing" in dut.console(), "the bad kernel was never booted"
    assert dut.wait() != boot, "it never rebooted"
    assert dut.run("uname -r").out.strip() == release
    assert bad in played.text
    assert "old kernel" in played.text, played.output[-3000:]

    # Whatever happens now, the next boot is the old kernel too.
    assert "next_entry=labkit" not in dut.run("cat /boot/grub/grubenv", check=False).out
    back = playbooks.play("revert.yml")
    assert back.code == 0, back.output
    dut.run(
        f"rm -rf /boot/vmlinuz-{bad} /boot/config-{bad} /boot/initrd.img-{bad} /lib/modules/{bad}; update-grub"
    )
    assert (
        dut.run("sha256sum /etc/default/grub; cat /etc/default/grub.d/* 2>/dev/null", check=False).out == menu
    )
