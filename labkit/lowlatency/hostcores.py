"""Which cores a measurement of the host covers, and which threads really run on them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ConfigInvalid
from labkit.machine.cores import isolated, usable

_THREADS_DEADLINE_S = 5.0
_POLICIES = {
    0: "SCHED_OTHER",
    1: "SCHED_FIFO",
    2: "SCHED_RR",
    3: "SCHED_BATCH",
    5: "SCHED_IDLE",
    6: "SCHED_DEADLINE",
}


def choose(asked: Sequence[int] | None = None) -> tuple[int, ...]:
    """The cores to measure: those asked for, else the isolated ones, else all that this process may use.

    Raises ConfigInvalid for a core that does not exist (or is outside the cpuset), or is named twice.
    """
    own = os.sched_getaffinity(0)
    if asked is None:
        return tuple(sorted(usable(isolated()) or own))
    if not asked or len(set(asked)) != len(asked):
        raise ConfigInvalid(f"cores {list(asked)}: expected one core or more, each once")
    lacking = sorted(set(asked) - usable(asked))
    if lacking:
        there = ", ".join(map(str, sorted(own | usable(isolated()))))
        raise ConfigInvalid(
            f"cores {', '.join(map(str, lacking))}: not available here", hint=f"available: {there}"
        )
    return tuple(sorted(asked))


def aside(measured: Iterable[int]) -> int | None:
    """A core for a tool's waiting main thread: one that is not measured; None where all are."""
    rest = os.sched_getaffinity(0) - set(measured)
    return min(rest, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFacts:
    """How the kernel schedules one thread, read back."""

    tid: int
    policy: str
    priority: int
    """Of SCHED_FIFO and SCHED_RR; 0 for others."""


def _facts(pid: int, tid: str) -> ThreadFacts | None:
    try:
        text = Path(f"/proc/{pid}/task/{tid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # from field 3 on; proc_pid_stat(5)
    return ThreadFacts(
        tid=int(tid), policy=_POLICIES.get(int(fields[38]), fields[38]), priority=int(fields[37])
    )


def workers(pid: int, count: int, *, policy: str) -> tuple[ThreadFacts, ...]:
    """The measuring threads of a tool, in the order in which it made them: all but its main one.

    Waits until there are `count` of this policy, as it takes a moment to start them. Returns fewer if they do not
    appear in time (the facts then show it) or the tool has ended.
    """
    end = time.monotonic() + _THREADS_DEADLINE_S
    while True:
        try:
            names = sorted((p.name for p in Path(f"/proc/{pid}/task").iterdir()), key=int)
        except OSError:
            return ()
        found = [f for name in names if name != str(pid) and (f := _facts(pid, name)) is not None]
        if time.monotonic() > end or len([f for f in found if f.policy == policy]) == count:
            return tuple(found)
        time.sleep(0.02)


def locked_kib(pid: int) -> int:
    """Memory that a process has locked [KiB]."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmLck:")), 0)
