"""Who else uses this machine's processors: what a hypervisor takes, and what other programs do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

STEAL_BUSY = 0.01
"""As the gate "steal": above it a measurement is invalid."""
OTHERS_BUSY_CORES = 0.15
"""All other programs together, in cores: more than an idle system uses."""
NAMED = 3
NAMED_CORES = 0.02
"""A program that uses less is not named."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process's processor time since it began [ticks]."""

    name: str
    parent: int
    start_ticks: int
    used_ticks: int


@dataclass(frozen=True, slots=True)
class UsageSnapshot:
    """All that is read at one time."""

    at_s: float
    steal_ticks: Mapping[int, tuple[int, int]]
    """By CPU: steal, and the sum of all."""
    processes: Mapping[int, Process]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What others took between two snapshots."""

    steal: float
    """Share of the worst CPU [1]."""
    steal_cpu: int | None
    others_cores: float
    """All other programs together [cores]."""
    programs: tuple[tuple[str, int, int, float], ...]
    """Those that used most: name, how many processes, one of their pids, cores."""
    by_pid: Mapping[int, float]
    """Each other process's use [cores]; those that used nothing are left out."""

    @property
    def busy(self) -> bool:
        """Whether it disturbs figures that are measured now."""
        return self.steal > STEAL_BUSY or self.others_cores > OTHERS_BUSY_CORES

    def describe(self) -> str:
        """Such as "other programs use 1.9 cores (yes 2 x, pid 77: 1.9), steal 3 % on CPU 1"."""
        parts = []
        if self.others_cores > OTHERS_BUSY_CORES:
            named = ", ".join(
                f"{name} (pid {pid}{f' and {count - 1} more' if count > 1 else ''}) {cores:.2g}"
                for name, count, pid, cores in self.programs
            )
            parts.append(
                f"other programs use {self.others_cores:.2g} cores" + (f": {named}" if named else "")
            )
        if self.steal > STEAL_BUSY:
            parts.append(f"the hypervisor takes {self.steal:.0%} of CPU {self.steal_cpu} (steal)")
        return "; ".join(parts) or "nothing else uses the processors"


def compare(before: UsageSnapshot, after: UsageSnapshot, *, own: int) -> Usage:
    """What others used between two snapshots. `own`: this process; it and its descendants are left out."""
    steal, steal_cpu = 0.0, None
    for cpu, (stolen, total) in after.steal_ticks.items():
        then = before.steal_ticks.get(cpu, (stolen, total))
        if total > then[1] and (stolen - then[0]) / (total - then[1]) > steal:
            steal, steal_cpu = (stolen - then[0]) / (total - then[1]), cpu
    passed_ticks = max((after.at_s - before.at_s) * TICKS_PER_S, 1.0)
    ours = _family(own, after.processes)
    used: dict[str, list[tuple[int, int]]] = {}
    for pid, process in after.processes.items():
        then_used = before.processes.get(pid)
        same = then_used is not None and then_used.start_ticks == process.start_ticks
        ticks = process.used_ticks - (then_used.used_ticks if same and then_used is not None else 0)
        if ticks > 0 and pid not in ours:
            used.setdefault(process.name, []).append((ticks, pid))
    programs = sorted(
        (
            (name, len(each), max(each)[1], sum(ticks for ticks, _ in each) / passed_ticks)
            for name, each in used.items()
        ),
        key=lambda program: -program[3],
    )
    return Usage(
        steal=steal,
        steal_cpu=steal_cpu,
        others_cores=sum(program[3] for program in programs),
        programs=tuple(p for p in programs[:NAMED] if p[3] >= NAMED_CORES),
        by_pid={pid: ticks / passed_ticks for each in used.values() for ticks, pid in each},
    )


def _family(own: int, processes: Mapping[int, Process]) -> set[int]:
    """A process and all that it has started."""
    family = {own}
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found = [own]
    while found:
        found = [child for pid in found for child in children.get(pid, ()) if child not in family]
        family.update(found)
    return family


def snapshot(cpus: Iterable[int] | None = None) -> UsageSnapshot:
    """Read it now; `cpus`: whose steal counts (left out: those that this process may use)."""
    chosen = set(os.sched_getaffinity(0) if cpus is None else cpus)
    steal: dict[int, tuple[int, int]] = {}
    for line in (PROC / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in chosen:
            ticks = [int(field) for field in fields[:8]]  # without guest time, which user time contains
            steal[int(name[3:])] = (ticks[7], sum(ticks))
    processes = {
        int(entry.name): process
        for entry in PROC.iterdir()
        if entry.name.isdigit() and (process := _process(entry)) is not None
    }
    return UsageSnapshot(time.monotonic(), steal, processes)


def _process(entry: Path) -> Process | None:
    try:
        text = (entry / "stat").read_text(errors="replace")
    except OSError:
        return None  # it has ended
    head, _, tail = text.rpartition(")")
    fields = tail.split()  # from field 3, the state, on; proc_pid_stat(5)
    return Process(
        name=head.partition("(")[2],
        parent=int(fields[1]),
        start_ticks=int(fields[19]),
        used_ticks=int(fields[11]) + int(fields[12]),
    )


def listen(seconds: float, *, sleep: Callable[[float], None] = time.sleep) -> Usage:
    """Wait for this time, and return who used the processors meanwhile."""
    before = snapshot()
    sleep(seconds)
    return compare(before, snapshot(), own=os.getpid())
