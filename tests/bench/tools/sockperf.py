"""sockperf as a tool: throughput (one way) and ping-pong (round trip)."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.machine.hosts import Host

PORT = 11111


def _binary() -> str:
    binary = shutil.which("sockperf")
    if binary is None:
        raise EnvironmentBroken("sockperf is not installed", hint="apt-get install sockperf")
    return binary


@dataclass(frozen=True, slots=True, kw_only=True)
class Sockperf:
    """A client run. `argv` is all that it is started with."""

    mode: str
    """throughput or ping-pong."""
    address: str
    message_bytes: int
    duration_s: int
    core: int
    tcp: bool = False

    def argv(self) -> list[str]:
        """Typed argv; round trips are asked for in full, since sockperf halves them by itself."""
        command = ["taskset", "-c", str(self.core), _binary(), self.mode, "-i", self.address, "-p", str(PORT)]
        command += ["-t", str(self.duration_s), "-m", str(self.message_bytes)]
        command += ["--tcp"] if self.tcp else []
        return command + (["--full-rtt"] if self.mode == "ping-pong" else [])


def parse_message_rate_pps(text: str) -> float:
    """Of `sockperf throughput`: messages a second."""
    match = re.search(r"Message Rate is (\d+) \[msg/sec\]", text)
    if match is None:
        raise ToolFailed(f"sockperf printed no message rate: {text[-400:]!r}")
    return float(match[1])


def parse_median_rtt_us(text: str) -> float:
    """Of `sockperf ping-pong --full-rtt`: the 50th percentile in microseconds."""
    if "avg-rtt" not in text:
        raise ToolFailed("sockperf does not say that it printed full round trips")
    match = re.search(r"percentile 50\.000\s*=\s*([0-9.]+)", text)
    if match is None:
        raise ToolFailed(f"sockperf printed no median: {text[-400:]!r}")
    return float(match[1])


@contextmanager
def server(host: Host, address: str, core: int, *, tcp: bool = False) -> Iterator[None]:
    """A sockperf server, until the context ends."""
    argv = ["taskset", "-c", str(core), _binary(), "server", "-i", address, "-p", str(PORT)]
    process = subprocess.Popen(
        host.argv([*argv, *(["--tcp"] if tcp else [])]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.5)  # it says nothing that could be waited for before its first message
        if process.poll() is not None:
            raise ToolFailed(f"sockperf server ended, code {process.returncode}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def run_client(tool: Sockperf, host: Host) -> str:
    """Its output. Raises ToolFailed when it fails."""
    done = subprocess.run(host.argv(tool.argv()), capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise ToolFailed(
            f"sockperf {tool.mode} failed, code {done.returncode}: {(done.stdout + done.stderr)[-400:]}"
        )
    return done.stdout
