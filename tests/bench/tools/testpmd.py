"""dpdk-testpmd as a tool: a pair of them, one generating flows and one swapping MAC addresses back."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.machine.hosts import Host

PROMPT = "testpmd> "


@dataclass(frozen=True, slots=True, kw_only=True)
class Testpmd:
    """One testpmd with one port, forwarding on one core, in hugepages. `argv` is all that it is started with."""

    core: int
    control_core: int
    """Where its prompt waits; it does nothing while the port forwards."""
    vdev: str
    forward_mode: str
    """flowgen, macswap, txonly, rxonly."""
    prefix: str
    descriptors: int = 1024
    frame_bytes: int = 60
    """In the buffer, without FCS."""

    def argv(self) -> list[str]:
        """Typed argv."""
        binary = shutil.which("dpdk-testpmd")
        if binary is None:
            raise EnvironmentBroken("dpdk-testpmd is not installed", hint="apt-get install dpdk-dev")
        return [
            # Its answers come through stdio, its prompt does not: by the line, they stay in order.
            "stdbuf",
            "-oL",
            binary,
            f"--lcores=0@{self.control_core},1@{self.core}",
            "--no-pci",
            "--in-memory",
            "--single-file-segments",
            "-m",
            "256",
            "--no-telemetry",
            f"--file-prefix={self.prefix}",
            f"--vdev={self.vdev}",
            "--",
            "-i",
            "--nb-cores=1",
            "--total-num-mbufs=32768",
            f"--rxd={self.descriptors}",
            f"--txd={self.descriptors}",
            f"--forward-mode={self.forward_mode}",
            *([f"--txpkts={self.frame_bytes}"] if self.forward_mode in ("flowgen", "txonly") else []),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortStats:
    """What `show port stats all` says of port 0 [frames]."""

    rx_packets: int
    tx_packets: int


def parse_port_stats(text: str) -> PortStats:
    """Raises ToolFailed where the counters are not there."""
    found = {name: re.findall(rf"{name}-packets:\s*(\d+)", text) for name in ("RX", "TX")}
    if not found["RX"] or not found["TX"]:
        raise ToolFailed(f"dpdk-testpmd printed no port statistics: {text[-400:]!r}")
    return PortStats(rx_packets=int(found["RX"][-1]), tx_packets=int(found["TX"][-1]))


class RunningTestpmd:
    """Its prompt."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _until_prompt(self) -> str:
        stdout = self._process.stdout
        if stdout is None:
            raise ToolFailed("dpdk-testpmd was started without a pipe")
        text = ""
        while not text.endswith(PROMPT):
            character = stdout.read(1)
            if not character:
                raise ToolFailed(f"dpdk-testpmd ended, code {self._process.wait()}: {text[-800:]}")
            text += character
        return text

    def command(self, line: str) -> str:
        """Send a line, return what it printed."""
        stdin = self._process.stdin
        if stdin is None:
            raise ToolFailed("dpdk-testpmd was started without a pipe")
        stdin.write(line + "\n")
        stdin.flush()
        return self._until_prompt()

    def stats(self) -> PortStats:
        """Counters now."""
        return parse_port_stats(self.command("show port stats all"))


@contextmanager
def running(tool: Testpmd, host: Host) -> Iterator[RunningTestpmd]:
    """Start it, wait for its prompt, stop it in the end."""
    process = subprocess.Popen(
        host.argv(tool.argv()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
    try:
        live = RunningTestpmd(process)
        live._until_prompt()
        yield live
    finally:
        try:
            if process.stdin is not None:
                process.stdin.write("quit\n")
                process.stdin.close()
            process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def pair_rate_pps(
    hosts: Sequence[Host], generator: Testpmd, reflector: Testpmd, *, warm_up_s: float, duration_s: float
) -> float:
    """Frames a second that come back to the generator: `hosts` are the generator's and the reflector's."""
    with running(reflector, hosts[1]) as dut, running(generator, hosts[0]) as tester:
        dut.command("start")
        tester.command("start")
        time.sleep(warm_up_s)
        began, before = time.monotonic(), tester.stats()
        time.sleep(duration_s)
        after, ended = tester.stats(), time.monotonic()
        return (after.rx_packets - before.rx_packets) / (ended - began)
