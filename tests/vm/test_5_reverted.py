"""revert.yml takes it all back."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "ansible" / "collections"))
from ansible_collections.labkit.host.plugins.module_utils import snapshot as snapshots

from tests.vm.guest import Guest
from tests.vm.playbook import GROUPS, Playbooks, Played, Provisioned, Say, Stock


@pytest.fixture(scope="module")
def revert(playbooks: Playbooks, site: Provisioned, say: Say) -> Played:
    """revert.yml, however it ended; also after a site.yml that failed half way."""
    played = playbooks.play("revert.yml")
    say(f"revert.yml took {played.took_s:.0f} s")
    return played


@pytest.fixture(scope="module")
def reverted(revert: Played) -> Played:
    """A revert that succeeded. What needs that ends with the reason, if it did not."""
    if revert.trouble:
        pytest.fail(f"needs a reverted DUT: {revert.trouble}", pytrace=False)
    return revert


def test_revert_succeeds(revert: Played):
    assert revert.code == 0, revert.output[-6000:]


def test_the_host_is_as_it_was(dut: Guest, stock: Stock, reverted, playbooks: Playbooks):
    """After a reboot of its own, so that nothing of what is compared is left over from before."""
    boot = dut.wait()
    dut.run("systemctl reboot", check=False)
    dut.wait(other_than=boot)

    now = playbooks.module("dut", "labkit.host.snapshot")["snapshot"]

    differences = snapshots.compare(stock.snapshot, now)
    unequal = [line for line in differences if not re.match(r"~ file /etc/g(roup|shadow): ", line)]
    assert not unequal, "\n".join(unequal)
    assert dut.run(GROUPS).out == stock.groups
    assert stock.snapshot["excluded"], "what is not compared must be said"


def test_nothing_of_ours_is_left(dut: Guest, reverted):
    dut.run("test ! -e /var/lib/labkit && test ! -e /usr/local/lib/labkit")
