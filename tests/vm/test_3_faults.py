"""Faults are injected into the provisioned machine, and each host check detects its own."""

from __future__ import annotations

import pytest

from tests.infra.faults import FAULTS
from tests.vm.faults_there import inject_faults
from tests.vm.playbook import Playbooks, Provisioned, Say

CANNOT = {
    "af_xdp.busy_poll": "Debian's real-time kernel is built without busy polling of sockets: test_0_generic.py",
    "nic_tuning.rss": "there as well",
    **dict.fromkeys(
        (f"trex.{name}" for name in ("version", "files", "unit", "ports", "api", "reach")),
        "no TRex is installed there: tests/lab/test_trex_role.py",
    ),
    **dict.fromkeys(
        (
            f"openonload.{name}"
            for name in ("version", "modules", "loaded", "options", "units", "registered", "queues")
        ),
        "no Onload is installed there: tests/lab/test_openonload_role.py",
    ),
    "nic_tuning.channels": "no emulated NIC has several and lets them be changed: on a veth link (tests/lab)",
}
"""Host checks that this guest can't pass."""


@pytest.mark.long
def test_every_fault_is_detected_by_its_check(playbooks: Playbooks, provisioned: Provisioned, say: Say):
    found = inject_faults(playbooks, say, host="dut")

    assert set(found["skipped"]) <= set(CANNOT), "skipped, although this guest could pass it"
    possible = [fault.check for fault in FAULTS if fault.check not in CANNOT]
    assert found["detected"] == sorted(possible)
