"""Every promise is broken on the machine that keeps it, and the check that should catch it does."""

from __future__ import annotations

import pytest

from tests.infra.sabotages import SABOTAGES
from tests.vm.playbook import Playbooks, Provisioned, Say
from tests.vm.sabotages_there import sabotaged

CANNOT = {
    "af_xdp.busy_poll": "Debian's real-time kernel is built without busy polling of sockets: test_0_generic.py",
    "nic_tuning.rss": "there as well",
    "nic_tuning.channels": "no emulated NIC has several and lets them be changed: on a veth link (tests/lab)",
}
"""Promises that nobody can make of this guest."""


@pytest.mark.long
def test_every_broken_promise_is_caught_by_its_check(
    playbooks: Playbooks, provisioned: Provisioned, say: Say
):
    found = sabotaged(playbooks, say, host="dut")

    assert set(found["skipped"]) <= set(CANNOT), "skipped, although this guest could keep it"
    possible = [sabotage.promise for sabotage in SABOTAGES if sabotage.promise not in CANNOT]
    assert found["caught"] == sorted(possible)
