"""iperf3 as a tool: one TCP stream, one way."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.machine.hosts import Host

PORT = 5201
START_S = 5.0


def _binary() -> str:
    binary = shutil.which("iperf3")
    if binary is None:
        raise EnvironmentBroken("iperf3 is not installed", hint="apt-get install iperf3")
    return binary


def parse_received_bits_per_s(text: str) -> float:
    """Of `iperf3 --json`: what the receiver counted."""
    try:
        return float(json.loads(text)["end"]["sum_received"]["bits_per_second"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolFailed(f"iperf3 printed no received rate: {text[-400:]!r}") from error


def client_argv(address: str, core: int, duration_s: int) -> list[str]:
    """One stream, Nagle off, as the other end of the comparison has it."""
    command = ["taskset", "-c", str(core), _binary(), "--client", address, "--port", str(PORT)]
    return [*command, "--time", str(duration_s), "--no-delay", "--json"]


def stream_bits_per_s(
    tester: Host, dut: Host, address: str, *, cores: tuple[int, int], duration_s: int
) -> float:
    """A server on the DUT, a client on the tester, each on its core; both end."""
    argv = ["taskset", "-c", str(cores[1]), _binary(), "--server", "--one-off", "--bind", address]
    server = subprocess.Popen(
        dut.argv([*argv, "--port", str(PORT)]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + START_S
        while True:  # it may not listen yet
            client = client_argv(address, cores[0], duration_s)
            done = subprocess.run(
                tester.argv(client), capture_output=True, text=True, check=False, timeout=60
            )
            if done.returncode == 0 and '"error"' not in done.stdout:  # with --json it ends with 0 even then
                return parse_received_bits_per_s(done.stdout)
            if time.monotonic() >= until or server.poll() is not None:
                raise ToolFailed(f"iperf3 failed, code {done.returncode}: {done.stdout[-400:]}")
            time.sleep(0.1)
    finally:
        server.terminate()
        server.wait(timeout=10)
