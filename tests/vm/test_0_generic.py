"""What only the generic kernel can pass, and a setting that a driver has only while its interface is up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import desired, image
from tests.vm.faults_there import inject_faults
from tests.vm.guest import Guest, Nic, link
from tests.vm.playbook import Playbooks, Say

NETWORK = f"""\
[Match]
Name={desired.SPREAD_NAME}
[Network]
LinkLocalAddressing=no
ConfigureWithoutCarrier=yes
"""
BUSY_READ = "cat /proc/sys/net/core/busy_read"
STATE = "systemctl show labkit-host --property=ActiveState --value"


@pytest.fixture(scope="module")
def host(stock_image: image.Image, folder: Path, say: Say) -> Iterator[Guest]:
    """A stock machine with a NIC of several queues, which its own network settings bring up."""
    ends = link()
    nic = Nic("vmxnet3", f"52:54:00:00:03:{desired.SPREAD_SLOT:02x}", desired.SPREAD_SLOT, ends[0])
    console = folder / "generic.console"
    with ends[0], ends[1], Guest("generic", stock_image, nics=[nic], memory_mib=1024, log=console) as guest:
        guest.wait()
        say("the machine with the generic kernel is up")
        guest.run("cat >/etc/systemd/network/20-spread.network; networkctl reload", stdin=NETWORK)
        guest.run(
            f"for second in $(seq 60); do ip link show {desired.SPREAD_NAME} up | grep -q . && break; sleep 1; done"
        )
        yield guest


def table(host: Guest) -> str:
    """Which receive queue each hash goes to."""
    return host.run(f"ethtool --show-rxfh-indir {desired.SPREAD_NAME}").out


@pytest.mark.long
def test_faults_that_only_the_generic_kernel_allows_are_detected_and_settings_survive_a_boot(
    host: Guest, playbooks: Playbooks, say: Say
):
    before, busy_read = table(host), host.run(BUSY_READ).out.strip()
    playbooks.host(host, desired.GENERIC)
    played = playbooks.play("site.yml", "--limit", host.name, "--tags", "af_xdp,nic_tuning")
    assert played.code == 0, played.output[-4000:]
    spread = table(host)
    assert spread != before

    found = inject_faults(playbooks, say, host=host.name, part=r"^(af_xdp\.busy_poll|nic_tuning\.rss)$")
    assert found == {"detected": ["af_xdp.busy_poll", "nic_tuning.rss"], "skipped": []}

    boot = host.wait()
    host.run("systemctl reboot", check=False)
    host.wait(other_than=boot)
    # Before the network is up the driver has no such table, and the unit tries again.
    host.run(f"for second in $(seq 120); do [ $({STATE}) = activating ] || break; sleep 1; done")
    journal = host.run("journalctl -b -u labkit-host").out
    assert host.run(STATE).out.strip() == "active", journal
    assert "NOT made again" in journal, "it did not have to wait"
    assert table(host) == spread
    assert host.run(BUSY_READ).out.strip() == desired.GENERIC["af_xdp_busy_read_us"]

    reverted = playbooks.play("revert.yml", "--limit", host.name)
    assert reverted.code == 0, reverted.output[-4000:]
    assert (table(host), host.run(BUSY_READ).out.strip()) == (before, busy_read)
