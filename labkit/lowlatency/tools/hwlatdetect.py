"""hwlatdetect (rt-tests): gaps caused by hardware and firmware (SMIs), seen by the kernel's hwlat tracer.

One core at a time, with interrupts off, the tracer reads the clock in a loop for half of each second. No kernel can
avoid these gaps: they are a lower limit of all other times, so they are measured first.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import EnvironmentBroken, ToolFailed
from labkit.lowlatency.tools import rt_tests, running
from labkit.lowlatency.tools.leftovers import Leftovers
from labkit.machine import fix
from labkit.machine.tunables import ToolTunable

TRACING = Path("/sys/kernel/debug/tracing")
"""The folder that hwlatdetect itself uses, so that what it leaves changed is reverted there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hwlatdetect:
    """One run: all that it is started with.

    Threshold (10 us), window and width are the kernel's own: setting them would outlive the run.
    """

    duration_s: int

    def argv(self) -> list[str]:
        """Typed argv."""
        return [running.binary("hwlatdetect", package=rt_tests.PACKAGE), f"--duration={self.duration_s}s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HwlatdetectResult:
    """What it printed."""

    threshold_us: int
    window_us: int
    width_us: int
    gaps: int
    """Samples above the threshold."""
    max_us: int | None
    """None: none was."""
    smis: int | None
    """System management interrupts; None where msr-tools is not installed or the CPU has no count of them."""


def parse(text: str) -> HwlatdetectResult:
    """Read its output. Raises ToolFailed if it did not finish, or its output is inconsistent."""
    if "test finished" not in text:
        raise ToolFailed(f"hwlatdetect did not finish: {text.strip()[-running.LAST_WORDS :]}")

    def number(pattern: str) -> int | None:
        match = re.search(rf"^\s*{pattern}\s*$", text, re.MULTILINE)
        return int(match[1]) if match else None

    def needed(pattern: str) -> int:
        found = number(pattern)
        if found is None:
            raise ToolFailed(
                f"hwlatdetect printed no line that matches {pattern!r}: {text[-running.LAST_WORDS :]}"
            )
        return found

    max_us = None if "Max Latency: Below threshold" in text else needed(r"Max Latency:\s*(\d+)us")
    gaps = needed(r"Samples recorded:\s*(\d+)")
    if bool(gaps) is (max_us is None):
        raise ToolFailed(f"hwlatdetect printed inconsistent results: {gaps} samples, maximum {max_us} us")
    return HwlatdetectResult(
        threshold_us=needed(r"Latency threshold:\s*(\d+)us"),
        window_us=needed(r"Sample window:\s*(\d+)us"),
        width_us=needed(r"Sample width:\s*(\d+)us"),
        gaps=gaps,
        max_us=max_us,
        smis=number(r"SMIs during run:\s*(\d+)"),
    )


@contextmanager
def _tracing_kept(tracing: Path) -> Iterator[None]:
    """Restore tracing: hwlatdetect turns all of it off when it ends.

    Raises EnvironmentBroken if there is no tracing, or a tracer is in use, which hwlatdetect would end.
    """
    try:
        in_use = (tracing / "current_tracer").read_text().strip()
    except OSError as error:
        raise EnvironmentBroken(
            f"{tracing}/current_tracer: {error.strerror}",
            hint=fix.as_root("mount -t debugfs none /sys/kernel/debug"),
        ) from error
    if in_use != "nop":
        raise EnvironmentBroken(
            f"the kernel's tracer {in_use} is in use: hwlatdetect would end it",
            hint=f"if nothing needs it: {fix.as_root(f'echo nop > {tracing}/current_tracer')}",
        )
    with Leftovers("hwlatdetect") as left:
        # Killed, it leaves the tracer on, which takes half of each second from one core after the other.
        left.expect(ToolTunable(tracing / "current_tracer"), new="hwlat")
        left.expect(ToolTunable(tracing / "tracing_on"), new="0")
        yield


def measure(
    tool: Hwlatdetect,
    *,
    on_second: Callable[[float], None] | None = None,
    tracing: Path = TRACING,
) -> tuple[HwlatdetectResult, running.Finished]:
    """Run it. Its exit code says whether the threshold was exceeded; its output shows whether it failed."""
    with _tracing_kept(tracing):
        done = running.run(
            tool.argv(), duration_s=tool.duration_s, ends_with=signal.SIGINT, on_second=on_second
        )
    if "test finished" not in done.stdout:
        raise done.failed(f"exit code {done.exit_code}")
    return parse(done.stdout), done
