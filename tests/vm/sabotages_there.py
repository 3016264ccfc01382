"""The sabotages of tests/infra, carried out on a guest."""

from __future__ import annotations

import re
import subprocess
import sys

from labkit.machine.hosts import DIE_WITH_PARENT
from tests.vm.playbook import Playbooks, Say


def sabotaged(playbooks: Playbooks, say: Say, *, host: str, part: str = "") -> dict[str, list[str]]:
    """Break what the inventory promises of the host, or what `part` finds of that; the promises by verdict."""
    command = [sys.executable, "-m", "tests.infra.sabotage", "--host", host, "-i", str(playbooks.inventory)]
    done = subprocess.run(
        [*DIE_WITH_PARENT, *command, "-k", part],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=playbooks.environment(),
        timeout=1200 * playbooks.slower,
        check=False,
    )
    say(done.stdout + done.stderr)

    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = ("caught", "skipped")
    return {
        verdict: sorted(re.findall(rf"^{verdict}\s+(\S+)", done.stdout, re.MULTILINE)) for verdict in verdicts
    }
