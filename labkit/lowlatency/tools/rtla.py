"""rtla timerlat: the same wake-up as cyclictest's, seen by the kernel's timerlat tracer in two parts.

How late the timer's interrupt was handled, and how late the thread ran that it woke. It counts in whole microseconds,
truncated; values beyond its histogram ("over") are counted only.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ToolFailed
from labkit.lowlatency.tools import running
from labkit.lowlatency.tools.figures import decimal, whole
from labkit.lowlatency.tools.leftovers import Leftovers
from labkit.machine.tunables import LeftoverTunable, ToolTunable

TRACING = Path("/sys/kernel/tracing")
INSTANCE = "timerlat_hist"
SETTINGS = ("cpus", "timerlat_period_us", "stop_tracing_us", "stop_tracing_total_us", "print_stack")
"""Files below osnoise/ that it sets while it runs."""
ENTRIES = 9999
"""Bins of 1 us: the maximum that every version accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timerlat:
    """One run: all that it is started with."""

    cores: tuple[int, ...]
    duration_s: int
    period_us: int = 500
    priority: int = 95
    """SCHED_FIFO, as cyclictest's."""
    entries: int = ENTRIES

    def argv(self) -> list[str]:
        """Typed argv."""
        command = [running.binary("rtla", package="rtla"), "timerlat", "hist"]
        command += ["--cpus", ",".join(map(str, self.cores)), "--duration", str(self.duration_s)]
        command += ["--period", str(self.period_us), "--priority", f"f:{self.priority}"]
        return [*command, "--entries", str(self.entries), "--dma-latency", "0"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerlatColumn:
    """One context on one core."""

    core: int
    context: str
    """irq or thread."""
    counted: int
    """With those beyond the histogram."""
    beyond: int
    min_us: int | None
    """None, as the next two: without a sample there is none. rtla prints "-" then, before 6.10 all ones."""
    mean_us: float | None
    max_us: int | None
    """The tool's own maximum."""
    bins_us: Mapping[int, int]


_CONTEXTS = {"IRQ": "irq", "Thr": "thread"}


def parse(text: str) -> tuple[TimerlatColumn, ...]:
    """Read `rtla timerlat hist`: a core of which nothing was traced has no column, or one without samples.

    Raises ToolFailed for other output, and where counts do not add up.
    """
    lines = [line.split() for line in text.splitlines()]
    heads = next((fields[1:] for fields in lines if fields[:1] == ["Index"]), None)
    if heads is None or "us" not in text.partition("Index")[0]:
        raise ToolFailed(
            f"rtla timerlat printed no histogram in microseconds: {text[-running.LAST_WORDS :]!r}"
        )
    width = len(heads) + 1
    bins = [f for f in lines if len(f) == width and f[0].isdigit()]
    summary = {f[0]: f[1:] for f in reversed(lines) if len(f) == width and f[0].endswith(":")}
    columns: list[TimerlatColumn] = []
    for i, head in enumerate(heads):
        match = re.fullmatch(r"(IRQ|Thr)-(\d+)", head)
        if match is None:
            continue  # Usr: the return to a user-space thread, which is not used here
        try:
            bins_us = {whole(f[0]): n for f in bins if (n := whole(f[i + 1]))}
            counted, beyond = whole(summary["count:"][i]), whole(summary["over:"][i])
            low, mean, high = (summary[f"{name}:"][i] for name in ("min", "avg", "max"))
            column = TimerlatColumn(
                core=int(match[2]),
                context=_CONTEXTS[match[1]],
                counted=counted,
                beyond=beyond,
                min_us=whole(low) if counted else None,
                mean_us=decimal(mean) if counted else None,
                max_us=whole(high) if counted else None,
                bins_us=bins_us,
            )
        except KeyError as error:
            raise ToolFailed(f"rtla timerlat: the summary of {head} lacks {error}") from error
        except ValueError as error:
            raise ToolFailed(f"rtla timerlat: {head} can't be read: {error}") from error
        if sum(bins_us.values()) + beyond != counted:
            raise ToolFailed(
                f"rtla timerlat: {head} counts {counted}, its histogram {sum(column.bins_us.values())}"
            )
        if column.max_us is not None and max(bins_us, default=0) > column.max_us:
            raise ToolFailed(
                f"rtla timerlat: {head} has a maximum of {column.max_us} us, its histogram {max(bins_us)} us"
            )
        columns.append(column)
    return tuple(columns)


def version() -> str | None:
    """Its version as it prints it (it exits with an error after that); None: it prints none."""
    return running.said(["rtla", "--version"], r"^rtla version (\S+)")


def measure(
    tool: Timerlat, *, on_second: Callable[[float], None] | None = None, tracing: Path = TRACING
) -> tuple[tuple[TimerlatColumn, ...], running.Finished]:
    """Run it. On SIGINT, which it gets when labkit dies, it removes its tracing instance.

    If it is killed, that instance stays, with the tracer running, and so do its settings of the tracer.
    """
    with Leftovers("rtla") as left:
        for name in SETTINGS:
            if (tracing / "osnoise" / name).is_file():
                left.expect(ToolTunable(tracing / "osnoise" / name), new="set by rtla")
        if tracing.is_dir():
            left.expect(LeftoverTunable(tracing / "instances" / INSTANCE))
        done = running.run(
            tool.argv(), duration_s=tool.duration_s, ends_with=signal.SIGINT, on_second=on_second
        )
    if done.exit_code or "Index" not in done.stdout:
        raise done.failed(f"exit code {done.exit_code}")
    return parse(done.stdout), done
