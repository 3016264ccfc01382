"""The faults of tests/infra, injected into a guest."""

from __future__ import annotations

import re
import subprocess
import sys

from labkit.machine.hosts import DIE_WITH_PARENT
from tests.vm.playbook import Playbooks, Say


def inject_faults(playbooks: Playbooks, say: Say, *, host: str, part: str = "") -> dict[str, list[str]]:
    """Inject the faults of host checks, or of those that match `part`; ids of the host checks by verdict."""
    command = [
        sys.executable,
        "-m",
        "tests.infra.fault_injection",
        "--host",
        host,
        "-i",
        str(playbooks.inventory),
    ]
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
    verdicts = ("detected", "skipped")
    return {
        verdict: sorted(re.findall(rf"^{verdict}\s+(\S+)", done.stdout, re.MULTILINE)) for verdict in verdicts
    }
