"""A stock machine: what cannot come right is refused, and nothing is changed."""

from __future__ import annotations

from tests.vm.guest import Guest
from tests.vm.playbook import Playbooks

MISTAKES = {
    # Variables, and what must be reported of them.
    "cpu_isolation_cpus": ("1-7", "there is no core 3-7"),
    "hugepages_pools": ([{"size_kib": 2048, "count": 100000, "scope": "boot"}], "more than there is"),
    "dpdk_devices": (
        [{"pci": "0000:00:02.0", "driver": "vfio-pci"}, {"pci": "0000:00:03.0", "driver": "vfio-pci"}],
        "0000:00:02.0",
    ),
    "nic_tuning_interfaces": ([{"name": "nosuch0", "rings": {"rx": 512}}], "nosuch0"),
}


def test_every_mistake_is_reported_at_once_and_nothing_is_changed(dut: Guest, stock, playbooks: Playbooks):
    playbooks.host(dut, {name: value for name, (value, _) in MISTAKES.items()})

    played = playbooks.play("site.yml")

    assert played.code != 0
    for name, (_, printed) in MISTAKES.items():
        assert name in played.text, played.output
        assert printed in played.text, played.output
    assert "SSH connection" in played.text, "the management NIC was not refused for what it is"
    assert "0000:00:03.0" in played.text, "a disk was taken for a NIC"
    assert played.count("dut", "changed") == 0
    assert dut.run("test ! -e /var/lib/labkit", check=False).code == 0, (
        "something was written down, so changed"
    )
