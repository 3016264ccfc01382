"""Runs our playbooks against guests as a user does, and reads what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from labkit.machine.hosts import DIE_WITH_PARENT
from tests.vm import limits
from tests.vm.guest import Guest

Say = Callable[[str], None]
"""Tells how far things are."""
ANSIBLE = Path(__file__).parents[2] / "ansible"


RAN_OUT = 124
"""Instead of an exit code: it took longer than it may. As timeout(1) says it."""


@dataclass(frozen=True)
class Played:
    """A run of ansible-playbook; with the code RAN_OUT it was ended, and the last line of its output says where."""

    code: int
    output: str = field(repr=False)
    took_s: float
    playbook: str = "the playbook"

    @property
    def text(self) -> str:
        """The output in one line, for looking for sentences that were wrapped."""
        return re.sub(r"\s+", " ", self.output)

    @property
    def trouble(self) -> str:
        """In one line, how and where it failed; empty where it did not."""
        if not self.code:
            return ""
        if self.code == RAN_OUT:
            return self.output.rstrip().splitlines()[-1]
        return f"{self.playbook} ended with {self.code} in the task [{limits.last_task(self.output)}]"

    def count(self, host: str, what: str) -> int:
        """A figure of the recap: ok, changed, failed, ..."""
        found = re.search(rf"^{host}\s*:.*\b{what}=(\d+)", self.output, re.MULTILINE)
        if not found:
            raise AssertionError(f"no {what} of {host} in the recap:\n{self.output[-3000:]}")
        return int(found.group(1))

    def changed_tasks(self) -> list[str]:
        """Names of the tasks that changed something, or in check mode would."""
        names, task = [], ""
        for line in self.output.splitlines():
            if found := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\] \*+", line):
                task = found.group(1)
            elif line.startswith("changed: "):
                names.append(task)
        return names


GROUPS = "stat -c '%n %a %U:%G' /etc/group /etc/gshadow; cat /etc/group /etc/gshadow"


@dataclass(frozen=True)
class Stock:
    """The DUT before anything of ours touched it."""

    snapshot: dict[str, Any]
    groups: str
    """What GROUPS prints: modes and text of files of which the snapshot has the hash."""
    release: str
    """Of the kernel that runs (`uname -r`)."""


@dataclass(frozen=True)
class Provisioned:
    """How the DUT was provisioned, or was not: `played` has the outcome."""

    predicted: Played | None
    """site.yml in check mode, before. None: no test that was chosen is about that."""
    untouched: bool
    """Whether that left it as it was: whatever is changed is written down first."""
    played: Played
    realtime: bool = True
    """Whether with a real-time kernel, else with the one that it had, preempted fully."""


class Playbooks:
    """An inventory of guests, and the playbooks over it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self._hosts: dict[str, dict[str, object]] = {}
        self._guests: dict[str, Guest] = {}

    @property
    def inventory(self) -> Path:
        """The inventory's file."""
        return self._folder / "inventory.yml"

    def host(self, guest: Guest, variables: Mapping[str, object]) -> None:
        """Put a guest into the inventory, or give it other variables."""
        self._guests[guest.name] = guest
        self._hosts[guest.name] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": guest.port,
            "ansible_user": "lab",
            "ansible_ssh_private_key_file": str(guest.image.key),
            "ansible_ssh_common_args": " ".join(guest.ssh_options[4:]),
            "ansible_python_interpreter": "/usr/bin/python3",
            **variables,
        }
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": self._hosts}}, sort_keys=False))

    @property
    def slower(self) -> float:
        """How many times longer than on the reference machine a step may take."""
        return max((guest.slower for guest in self._guests.values()), default=1.0)

    def play(self, playbook: str, *arguments: str, timeout_s: float = 1500) -> Played:
        """Run one; its output is kept in a file of the folder as well. One that runs out of time is ended."""
        limit_s = timeout_s * self.slower
        self._runs += 1
        log = self._folder / f"{self._runs:02d}-{playbook}.log"
        command = ["ansible-playbook", "-i", str(self.inventory), *arguments, str(ANSIBLE / playbook)]
        began = time.monotonic()
        with log.open("w") as stream:
            try:
                code = subprocess.run(
                    [*DIE_WITH_PARENT, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=self.environment(),
                    timeout=limit_s,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = RAN_OUT
        if code == RAN_OUT:
            with log.open("a") as stream:
                output = log.read_text(errors="replace")
                stream.write(f"\n{limits.ran_out(playbook, limit_s, self.slower, output)}\n")
        return Played(code, log.read_text(errors="replace"), time.monotonic() - began, playbook)

    def module(self, host: str, name: str, *arguments: str) -> dict[str, Any]:
        """Run one module there as root; what it returns."""
        command = ["ansible", "-i", str(self.inventory), host, "--become", "-m", name, *arguments]
        done = subprocess.run(
            [*DIE_WITH_PARENT, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**self.environment(), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            timeout=300 * self.slower,
            check=False,
        )
        verdict, _, printed = done.stdout.partition(" => ")
        if done.returncode or ("SUCCESS" not in verdict and "CHANGED" not in verdict):
            raise AssertionError(f"{name} on {host}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(printed)
        return result

    def environment(self) -> dict[str, str]:
        """For ansible and what calls it."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            # Sockets of SSH connections that are kept: here, not in the user's home.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._folder / "cp"),
            "ANSIBLE_HOME": str(self._folder / "home"),
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
