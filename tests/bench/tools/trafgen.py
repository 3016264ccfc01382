"""trafgen (netsniff-ng) as a tool: one frame, again and again, through a mapped packet socket past the qdisc."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.machine.hosts import Host

STOP_S = 5.0


def _binary() -> str:
    binary = shutil.which("trafgen") or shutil.which("trafgen", path="/usr/sbin")
    if binary is None:
        raise EnvironmentBroken("trafgen is not installed", hint="apt-get install netsniff-ng")
    return binary


def packet(frame: bytes, core: int) -> str:
    """A frame in trafgen's language, sent by that core alone."""
    return f"cpu({core}): {{ {', '.join(f'0x{byte:02x}' for byte in frame)} }}\n"


def argv(interface: str, core: int, config: Path) -> list[str]:
    """What it is started with; `--cpus` counts from core 0."""
    more = ["--cpus", str(core + 1), "--no-cpu-stats"]
    return [_binary(), "--dev", interface, "--conf", str(config), *more]


@contextmanager
def sending(host: Host, interface: str, frame: bytes, core: int, folder: Path) -> Iterator[None]:
    """It sends for the time of the context. Raises ToolFailed if it does not begin, or ends by itself."""
    config = folder / "frame.cfg"
    config.write_text(packet(frame, core))
    log = folder / "trafgen.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            host.argv(argv(interface, core, config)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            time.sleep(0.5)  # it forks, and maps its ring
            yield
            if process.poll() is not None:
                raise ToolFailed(
                    f"trafgen ended with {process.returncode}: {log.read_text(errors='replace')[-400:]}"
                )
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
