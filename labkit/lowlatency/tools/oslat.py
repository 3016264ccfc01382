"""oslat (rt-tests): how long a thread that never sleeps is kept from running, as a polling core would be.

One thread per core reads the CPU's counter in a loop and records the gaps. It counts in whole microseconds, rounded
up; its last bucket holds all longer gaps, without their values. From rt-tests 2.6 on its buckets are one microsecond
above its own minimum and maximum for the same gap: that is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from labkit.errors import ToolFailed
from labkit.lowlatency.tools import rt_tests, running
from labkit.lowlatency.tools.figures import decimal, whole

BUCKETS = 1024
"""The maximum of oslat: gaps of up to 1023 us have a bucket of their own."""
PREHEAT_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Oslat:
    """One run: all that it is started with."""

    cores: tuple[int, ...]
    duration_s: int
    main_core: int
    """Where its main thread waits: not one of those measured, where there is another."""
    priority: int | None = None
    """SCHED_FIFO; None: as an ordinary thread. A busy loop with a priority starves everything else on its core."""
    buckets: int = BUCKETS

    def argv(self, json_path: str) -> list[str]:
        """Typed argv."""
        command = [running.binary("oslat", package=rt_tests.PACKAGE), "--quiet"]
        command += ["--cpu-list", ",".join(map(str, self.cores)), "--cpu-main-thread", str(self.main_core)]
        command += ["--duration", str(self.duration_s), "--bucket-size", str(self.buckets)]
        command += [] if self.priority is None else ["--rtprio", str(self.priority)]
        return [*command, f"--json={json_path}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OslatThread:
    """The result of one thread."""

    core: int
    loops: int
    """Gaps counted, one per turn of its loop, including those in the last bucket."""
    min_us: int
    max_us: int
    """The tool's own maximum: correct even beyond the histogram."""
    mean_us: float
    duration_s: float
    bins_us: Mapping[int, int]
    """Whole microseconds to how often, without the last bucket."""

    @property
    def beyond(self) -> int:
        """Gaps in the last bucket."""
        return self.loops - sum(self.bins_us.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class OslatResult:
    """What it wrote."""

    version: str
    threads: tuple[OslatThread, ...]


def parse(text: str, *, buckets: int) -> OslatResult:
    """Read its JSON; `buckets` is what it was started with. Raises ToolFailed for inconsistent output."""
    version, found = rt_tests.threads(text, "oslat")
    threads: list[OslatThread] = []
    for one in found:
        counts = rt_tests.bins(one, "oslat")
        try:
            # Observed in 2.6: minimum 1, all counts from bucket 2 on, and the mean by the buckets.
            shift = min((us for us, n in counts.items() if n and us < buckets), default=0) - whole(one["min"])
            shift = int(shift == 1)
            thread = OslatThread(
                core=whole(one["cpu"]),
                loops=sum(counts.values()),
                min_us=whole(one["min"]),
                max_us=whole(one["max"]),
                mean_us=decimal(one["avg"]) - shift,
                duration_s=decimal(one["duration"]),
                bins_us={us - shift: count for us, count in counts.items() if us < buckets},
            )
        except KeyError as error:
            raise ToolFailed(f"oslat: a thread of its JSON lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ToolFailed(f"oslat: a thread of its JSON can't be read: {error}") from error
        if not thread.loops or max(thread.bins_us, default=0) > thread.max_us:
            raise ToolFailed(f"oslat: histogram and maximum of the thread on core {thread.core} disagree")
        threads.append(thread)
    return OslatResult(version=version, threads=tuple(threads))


def measure(
    tool: Oslat,
    *,
    on_start: Callable[[int], None] | None = None,
    on_second: Callable[[float], None] | None = None,
) -> tuple[OslatResult, running.Finished]:
    """Run it. Raises EnvironmentBroken (not installed) or ToolFailed, with its last output."""
    with rt_tests.json_file("oslat") as file:
        done = running.run(
            tool.argv(file.path),
            duration_s=tool.duration_s + PREHEAT_S,
            on_start=on_start,
            on_second=on_second,
            pass_fds=(file.descriptor,),
        )
        if done.exit_code:
            raise done.failed(f"exit code {done.exit_code}")
        return parse(file.read(), buckets=tool.buckets), done
