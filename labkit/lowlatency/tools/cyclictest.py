"""cyclictest (rt-tests): how late a thread wakes up that the kernel should wake at a set time.

One thread per core, SCHED_FIFO, memory locked, sleeps until an absolute time and records how late it runs again. It
counts in whole microseconds, truncated: 13 is 13.000 to 13.999. Beyond the end of its histogram it keeps no values.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ToolFailed
from labkit.lowlatency.tools import leftovers, rt_tests, running
from labkit.lowlatency.tools.figures import decimal, whole
from labkit.machine.tunables import LeftoverTunable

HISTOGRAM_US = 100_000
"""Bins of 1 us: later wake-ups are counted without their value. It costs 0.8 MB per core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cyclictest:
    """One run: all that it is started with."""

    cores: tuple[int, ...]
    duration_s: int
    interval_us: int = 500
    priority: int = 95
    """SCHED_FIFO: above threaded interrupts (50), below what the kernel itself needs (99)."""
    histogram_us: int = HISTOGRAM_US
    main_core: int | None = None
    """Where its main thread waits; None: where the kernel puts it."""
    idle_states: bool = False
    """False: it holds /dev/cpu_dma_latency at 0 us, so that no CPU enters an idle state with an exit latency."""

    def argv(self, json_path: str) -> list[str]:
        """Typed argv, for this machine."""
        return [running.binary("cyclictest", package=rt_tests.PACKAGE), *self.options(json_path)]

    def options(self, json_path: str) -> list[str]:
        """Its arguments, on any machine.

        With a histogram rt-tests sets the distance of the threads' intervals to 0.
        """
        command = ["--quiet", "--mlockall"]
        command += [f"--threads={len(self.cores)}", f"--affinity={','.join(map(str, self.cores))}"]
        command += ["--policy=fifo", f"--priority={self.priority}"]
        command += [f"--interval={self.interval_us}", "--distance=0", f"--duration={self.duration_s}"]
        command += [f"--histogram={self.histogram_us}", "--histfile=/dev/null", f"--json={json_path}"]
        command += [] if self.main_core is None else [f"--mainaffinity={self.main_core}"]
        return command + (["--default-system"] if self.idle_states else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclictestThread:
    """The result of one thread."""

    core: int
    wakeups: int
    """All that it counted, those beyond the histogram too."""
    min_us: int
    max_us: int
    """The tool's own maximum: correct even beyond the histogram."""
    mean_us: float
    bins_us: Mapping[int, int]
    """Whole microseconds to how often."""

    @property
    def beyond(self) -> int:
        """Wake-ups later than the histogram's end."""
        return self.wakeups - sum(self.bins_us.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclictestResult:
    """What it wrote."""

    version: str
    threads: tuple[CyclictestThread, ...]


def parse(text: str) -> CyclictestResult:
    """Read its JSON. Raises ToolFailed for inconsistent output: no count or maximum may get lost."""
    version, found = rt_tests.threads(text, "cyclictest")
    threads: list[CyclictestThread] = []
    for one in found:
        try:
            thread = CyclictestThread(
                core=whole(one["cpu"]),
                wakeups=whole(one["cycles"]),
                min_us=whole(one["min"]),
                max_us=whole(one["max"]),
                mean_us=decimal(one["avg"]),
                bins_us=rt_tests.bins(one, "cyclictest"),
            )
        except KeyError as error:
            raise ToolFailed(f"cyclictest: a thread of its JSON lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ToolFailed(f"cyclictest: a thread of its JSON can't be read: {error}") from error
        if not thread.wakeups:
            raise ToolFailed(f"cyclictest: the thread on core {thread.core} was never woken")
        if thread.beyond < 0 or max(thread.bins_us, default=0) > thread.max_us:
            raise ToolFailed(
                f"cyclictest: histogram and counts of the thread on core {thread.core} disagree: "
                f"{thread.wakeups} wake-ups, {-thread.beyond} more in the histogram, maximum {thread.max_us} us"
            )
        threads.append(thread)
    return CyclictestResult(version=version, threads=tuple(threads))


def measure(
    tool: Cyclictest,
    *,
    on_start: Callable[[int], None] | None = None,
    on_second: Callable[[float], None] | None = None,
) -> tuple[CyclictestResult, running.Finished]:
    """Run it. Raises EnvironmentBroken (not installed) or ToolFailed, with its last output."""
    with rt_tests.json_file("cyclictest") as file, leftovers.Leftovers("cyclictest") as left:

        def journal(pid: int) -> None:
            if not running.own_mounts():
                left.expect(LeftoverTunable(Path(f"/dev/shm/cyclictest{pid}")))  # noqa: S108

        done = running.run(
            tool.argv(file.path),
            duration_s=tool.duration_s,
            # On SIGTERM it removes its shared-memory file, if that is in the machine's own /dev/shm.
            ends_with=signal.SIGTERM,
            before_start=journal,
            on_start=on_start,
            on_second=on_second,
            pass_fds=(file.descriptor,),
        )
        if done.exit_code:
            raise done.failed(f"exit code {done.exit_code}")
        return parse(file.read()), done
