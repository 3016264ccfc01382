"""Labs of two guests with cables between them, and labkit here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.vm import desired
from tests.vm.guest import Guest
from tests.vm.playbook import Say

STATE = (
    # Without the index, which is another one after a NIC had another driver, and in the order of the names; one
    # of the kernel's own queueing disciplines, which an interface has from the first time on that it is up, is as good
    # as none.
    "ip -oneline address show | sed 's/^[0-9]*: //' | sort; ip neigh show nud permanent; "
    "ip -oneline link show | sed -E 's/^[0-9]*: //; s/ qdisc (noop|mq|fq_codel) / qdisc default /' | sort; "
    "ls -d /run/labkit* 2>/dev/null; cat /var/lib/labkit/journal.jsonl 2>/dev/null || true"
)


class Wired:
    """Labs of the two machines, and labkit here."""

    def __init__(self, folder: Path, inventory: Path, tester: Guest, dut: Guest) -> None:
        self.folder = folder
        self.inventory = inventory
        self.tester = tester
        self.dut = dut
        self.backends: tuple[str, ...] = ("kernel", "af_packet", "xdp", "af_xdp", "dpdk")

    def topology(
        self, name: str, *slots: int, more: dict[str, Any] | None = None, **ports: dict[str, str]
    ) -> Path:
        """A lab file with a link for each slot; `more`: further keys; `ports`: how a role's port is named instead."""
        links = [
            {
                "name": f"link{at}",
                "kind": "nic",
                **{
                    role: {
                        **ports.get(role, {"interface": f"enp0s{slot}"}),
                        "ipv4": f"198.18.{at}.{n}/24",
                        "ipv6": f"2001:2:0:{at}::{n}/64",
                    }
                    for role, n in (("tester", 1), ("dut", 2))
                },
            }
            for at, slot in enumerate(slots)
        ]
        lab = {
            "description": "two emulated machines",
            "tier": "vm",
            "backends": list(self.backends),
            "hosts": {"tester": self.tester.name, "dut": self.dut.name},
            "links": links,
            **(more or {}),
        }
        file = self.folder / f"{name}.yml"
        file.write_text(yaml.safe_dump(lab))
        return file

    def looped(self) -> Path:
        """A lab file with both ends of a cable on the DUT's machine."""
        tester, dut = desired.LOOPED_SLOTS
        lab = self.topology("looped", tester, dut={"interface": f"enp0s{dut}"})
        text = yaml.safe_load(lab.read_text())
        text["hosts"] = dict.fromkeys(("tester", "dut"), self.dut.name)
        lab.write_text(yaml.safe_dump(text))
        return lab

    def argv(self, *arguments: str) -> list[str]:
        """labkit's command line."""
        return [sys.executable, "-m", "labkit.cli", *arguments, "--inventory", str(self.inventory)]

    def trial(self, topology: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One trial."""
        return subprocess.run(
            self.argv("trial", "--topology", str(topology), *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=300 * self.dut.slower,
        )

    def proven(self, topology: Path, backend: str, say: Say, *arguments: str) -> dict[str, Any]:
        """A short trial whose proof holds and of which frames came back: what labkit printed."""
        load = ("--load", "200 pps", "--duration", "2 s", "--json")
        done = self.trial(topology, "--backend", backend, *load, *arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        sent, received = found["trial"]["sent"], found["trial"]["received"]
        say(f"{topology.stem}: {found['proof']['claim']}; {received} of {sent} frames came back")
        assert found["proof"]["proven"], found["proof"]
        assert received > 0.5 * sent > 0, found["trial"]
        return found

    def long_trial(self, topology: Path, backend: str, program: str) -> subprocess.Popen[str]:
        """A trial that lasts, whose DUT runs."""
        argv = self.argv("trial", "--topology", str(topology), "--backend", backend)
        process = subprocess.Popen(
            [*argv, "--load", "200 pps", "--duration", "300 s"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        there = f"pgrep -x {program}"
        assert self.eventually(
            lambda: self.dut.run(there, check=False).code == 0 or process.poll() is not None,
            within_s=180,  # half a minute where nothing else runs
        )
        assert process.poll() is None, process.communicate()
        return process

    def states(self) -> tuple[str, str]:
        """What a lab could leave on either machine."""
        return self.tester.run(STATE).out, self.dut.run(STATE).out

    def eventually(self, holds: Callable[[], bool], *, within_s: float = 60) -> bool:
        """Whether it does within a while."""
        end = time.monotonic() + within_s * self.dut.slower
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(1)
        return True
