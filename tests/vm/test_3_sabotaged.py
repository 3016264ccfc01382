"""Every promise is broken on the machine that keeps it, and the check that should catch it does."""

from __future__ import annotations

import re
import subprocess
import sys

from labkit.hosts import DIE_WITH_PARENT
from tests.infra.sabotages import SABOTAGES
from tests.vm.playbook import Playbooks, Provisioned, Say

CANNOT = {
    "cpu_isolation.governor": "an emulated CPU has one frequency",
    "cpu_isolation.cstates": "and no idle states",
    "af_xdp.busy_poll": "Debian's real-time kernel is built without busy polling of sockets",
    "nic_tuning.pause": "the emulated NIC says yes and keeps them on: read back, so refused",
    "nic_tuning.channels": "the emulated NIC has one queue",
    "nic_tuning.rss": "and so nothing to spread over",
}
"""Promises that nobody can make of this guest."""


def test_every_broken_promise_is_caught_by_its_check(
    playbooks: Playbooks, provisioned: Provisioned, say: Say
):
    command = [sys.executable, "-m", "tests.infra.sabotage", "--host", "dut", "-i", str(playbooks.inventory)]
    done = subprocess.run(
        [*DIE_WITH_PARENT, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=playbooks.environment(),
        timeout=1200,
        check=False,
    )
    say(done.stdout + done.stderr)

    assert done.returncode == 0, done.stdout + done.stderr
    skipped = set(re.findall(r"^skipped\s+(\S+)", done.stdout, re.MULTILINE))
    assert skipped <= set(CANNOT), "skipped, although this guest could keep it"
    possible = [sabotage.promise for sabotage in SABOTAGES if sabotage.promise not in CANNOT]
    assert sorted(re.findall(r"^caught\s+(\S+)", done.stdout, re.MULTILINE)) == sorted(possible)
