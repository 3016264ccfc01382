"""site.yml turns the stock machine into what its variables say, once."""

from __future__ import annotations

import pytest

from tests.vm import desired
from tests.vm.guest import Guest
from tests.vm.playbook import Playbooks, Provisioned, Say


def test_site_succeeds(site: Provisioned):
    assert site.played.code == 0, site.played.output[-6000:]


def test_the_host_runs_the_kernel_and_the_command_line_that_were_asked_for(
    dut: Guest, provisioned: Provisioned
):
    cmdline = dut.run("cat /proc/cmdline").out.split()
    if provisioned.realtime:
        assert dut.run("cat /sys/kernel/realtime").out.strip() == "1"
        assert "PREEMPT_RT" in dut.run("uname -v").out
    else:
        assert "preempt=full" in cmdline
        assert "(full)" in dut.run("sudo cat /sys/kernel/debug/sched/preempt").out
    assert "intel_iommu=on" in cmdline
    assert dut.run("cat /sys/devices/system/cpu/isolated").out.strip() == str(desired.ISOLATED)
    pages = dut.run("cat /sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages").out.split()
    assert tuple(map(int, pages)) == desired.HUGEPAGES


@pytest.mark.long
def test_check_mode_predicted_what_the_run_changed(provisioned: Provisioned):
    assert provisioned.predicted is not None
    predicted, happened = (set(run.changed_tasks()) for run in (provisioned.predicted, provisioned.played))
    assert provisioned.predicted.code == 0, provisioned.predicted.output[-4000:]
    assert provisioned.untouched, "check mode wrote something down, so changed something"
    assert happened - predicted == set(), "changed, but not predicted"
    assert predicted - happened == set(), "predicted, but not changed"


@pytest.mark.long
def test_second_run_changes_nothing(playbooks: Playbooks, provisioned: Provisioned, say: Say):
    again = playbooks.play("site.yml")
    say(f"the second run took {again.took_s:.0f} s")

    assert again.code == 0, again.output[-4000:]
    assert again.count("dut", "changed") == 0, again.changed_tasks()


def test_every_host_check_passes(playbooks: Playbooks, provisioned: Provisioned, say: Say):
    verified = playbooks.play("verify.yml")
    say(f"verify.yml took {verified.took_s:.0f} s")

    assert verified.code == 0, verified.output[-6000:]
    assert verified.count("dut", "changed") == 0


@pytest.mark.long
def test_the_next_boot_is_the_same(dut: Guest, playbooks: Playbooks, provisioned: Provisioned, say: Say):
    """What the kernel forgets is made again, and the trial was no one-off."""
    boot = dut.wait()
    dut.run("systemctl reboot", check=False)
    dut.wait(other_than=boot)

    assert "labkit.trial" not in dut.run("cat /proc/cmdline").out, "the trial is still what boots"
    verified = playbooks.play("verify.yml")
    say("verified once more after another reboot")

    assert verified.code == 0, verified.output[-6000:]
