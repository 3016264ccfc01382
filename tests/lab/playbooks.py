"""Running our playbooks on this machine, kept off what belongs to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ANSIBLE = Path(__file__).parents[2] / "ansible"


def play(
    *arguments: str,
    playbook: str = "local.yml",
    lib: Path | None = None,
    inside: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a playbook. `lib` is bound over /var/lib: this machine's notes may hold older values.

    `inside` is a shell script that runs first, in mount and network namespaces of its own.
    """
    command = ["ansible-playbook", str(ANSIBLE / playbook), *arguments]
    if lib:
        inside += f'\nmount --bind "{lib}" /var/lib'
    if inside:
        spaces = ["--mount", *(["--net"] if "ip link" in inside else [])]
        command = ["unshare", *spaces, "sh", "-ec", f'{inside}\nexec "$@"', "sh", *command]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **(environment or {}),
        },
        check=False,
        timeout=timeout_s,
    )


def output(done: subprocess.CompletedProcess[str]) -> str:
    """All that it printed, without line breaks."""
    return re.sub(r"\s+", " ", done.stdout + done.stderr)
