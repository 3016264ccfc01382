"""A copy of this machine to change: its files under an overlay, a network of its own. Nothing of it stays.

What is written there is gone with the last process in it. /proc is this machine's, so values in /proc/sys are, too:
what a test changes there must belong to a namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

_MAKE = """
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc none "$1/root/proc"
mount -t sysfs none "$1/root/sys"
mount -t tmpfs none "$1/root/tmp"
mount -t tmpfs none "$1/root/run"
# This machine's own notes show through an overlay, and may come and go.
mkdir -p "$1/root/var/lib/labkit"
mount -t tmpfs -o mode=755 none "$1/root/var/lib/labkit"
root=$1
shift
# What lies on another file system, or below /tmp, does not show through: it gets an overlay of its own. A bind mount
# would let what is done in here (to /usr/local, where Python is the system's) be done to this machine.
for place in "$@"; do
    if [ "$(stat -c %m "$place")" != / ] || [ ! -e "$root/root$place" ]; then
        more=$(mktemp -d "$root/more.XXXXXX")
        mkdir -p "$more/upper" "$more/work" "$root/root$place"
        mount -t overlay overlay -o "lowerdir=$place,upperdir=$more/upper,workdir=$more/work" "$root/root$place"
    fi
done
echo ready
exec cat
"""


@dataclass(frozen=True)
class Container:
    """A running one."""

    pid: int
    root: str

    @property
    def enter(self) -> list[str]:
        """What a command starts with to run in it."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--", "chroot", self.root]

    @property
    def environment(self) -> dict[str, str]:
        """For what runs in it."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible/ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, *command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            [*self.enter, *command],
            capture_output=True,
            text=True,
            env=self.environment,
            check=False,
            timeout=timeout_s,
        )

    def put(self, folder: Path, place: str) -> None:
        """Copy a folder's files into one in it."""
        with subprocess.Popen(["tar", "-C", str(folder), "-c", "."], stdout=subprocess.PIPE) as packed:
            subprocess.run(
                [*self.enter, "sh", "-c", f"mkdir -p {place} && tar -xC {place}"],
                stdin=packed.stdout,
                check=True,
            )

    def play(self, playbook: str, inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of our playbooks in it."""
        return self.run(
            "ansible-playbook", "-i", str(inventory), *arguments, str(CHECKOUT / "ansible" / playbook)
        )

    def play_until(self, task: str, playbook: str, inventory: Path, *, delay_s: float) -> bool:
        """Run one until a task of this name has begun, and that long into it; then all in here is killed at once.

        Returns whether the task was reached.
        """
        command = [
            *self.enter,
            "ansible-playbook",
            "-i",
            str(inventory),
            str(CHECKOUT / "ansible" / playbook),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        ) as process:
            reached = any(f"TASK [{task}]" in line for line in process.stdout)
            time.sleep(delay_s)
            self.run("sh", "-c", "kill -KILL -1")  # but for the first process
        return reached

    def snapshot(self) -> object:
        """The whole of it, to be compared."""
        done = self.run(
            *("env", "ANSIBLE_CALLBACK_RESULT_FORMAT=json"),
            *("ansible", "localhost", "-m", "labkit.host.snapshot"),
        )
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout.partition("=>")[2])["snapshot"]


@contextmanager
def container(folder: Path) -> Iterator[Container]:
    """Make one, with its overlay in `folder`. Skips where the kernel makes no overlay of its root."""
    places = dict.fromkeys(map(str, (CHECKOUT, sys.prefix, sys.base_prefix)))
    command = [
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-ec",
        _MAKE,
        "sh",
        str(folder),
    ]
    with subprocess.Popen(
        [*command, *places], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        if process.stdout.readline() != "ready\n":
            pytest.skip(f"no overlay of this root: {process.stderr.read().strip()}")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        try:
            yield Container(int(children[0]), f"{folder}/root")
        finally:
            process.stdin.close()
