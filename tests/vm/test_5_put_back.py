"""revert.yml takes it all back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "ansible" / "collections"))
from ansible_collections.labkit.host.plugins.module_utils import snapshot as snapshots

from tests.vm.guest import Guest
from tests.vm.playbook import Playbooks, Provisioned, Say


@pytest.fixture(scope="module")
def reverted(playbooks: Playbooks, provisioned: Provisioned, say: Say):
    played = playbooks.play("revert.yml")
    say(f"revert.yml took {played.took_s:.0f} s")
    return played


def test_revert_succeeds(reverted):
    assert reverted.code == 0, reverted.output[-6000:]


def test_the_host_is_as_it_was(dut: Guest, stock, reverted, playbooks: Playbooks):
    """After a reboot of its own, so that nothing of what is compared is left over from before."""
    boot = dut.wait()
    dut.run("systemctl reboot", check=False)
    dut.wait(other_than=boot)

    now = playbooks.module("dut", "labkit.host.snapshot")["snapshot"]

    differences = snapshots.compare(stock, now)
    assert not differences, "\n".join(differences)
    assert stock["excluded"], "what is not compared must be said"


def test_nothing_of_ours_is_left(dut: Guest, reverted):
    assert dut.run("ls -A /var/lib/labkit /usr/local/lib/labkit", check=False).out == ""


def test_revert_of_a_stock_host_changes_nothing(playbooks: Playbooks, reverted):
    assert playbooks.play("revert.yml").count("dut", "changed") == 0
