"""The cores of this machine: which ones labkit may use, and which ones a process really runs on."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labkit.errors import EnvironmentBroken

_ISOLATED = Path("/sys/devices/system/cpu/isolated")
_REGION = re.compile(
    r"(?:(?P<all>[aA][lL]{2})|(?P<first>\d+|N)(?:-(?P<stop>\d+|N))?(?(stop)|(?!:)))"
    r"(?::(?P<used>\d+|N)/(?P<group>\d+|N))?",
    re.ASCII,
)
"""lib/bitmap-str.c of the kernel."""
_MOST = 1 << 16
"""A core above that has no kernel: the bound of a list where the last core is not known."""


def isolated() -> set[int]:
    """Cores that the kernel's command line keeps free of ordinary work (isolcpus)."""
    try:
        return parse_list(_ISOLATED.read_text())
    except OSError:
        return set()


def usable(cores: Iterable[int]) -> set[int]:
    """Those of `cores` on which this process may run: tried, since its affinity mask leaves out isolated ones.

    Tried in a thread of its own, so that the affinity of this one does not change.
    """
    wanted, granted = sorted(set(cores)), set[int]()

    def attempt() -> None:
        for core in wanted:
            try:
                os.sched_setaffinity(0, {core})
            except (OSError, OverflowError, ValueError):
                continue
            granted.add(core)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return granted


def reachable() -> set[int]:
    """Every core that a datapath may be pinned to: this process's own, and isolated ones that it may go to.

    A mask that has an isolated core was set on purpose (taskset, a cpuset), and is taken as it is.
    """
    own, apart = os.sched_getaffinity(0), isolated()
    return own if own & apart else own | usable(apart)


def siblings(core: int) -> set[int]:
    """The logical cores of the same physical core, itself among them."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return {core}
    return parse_list(text)


def parse_list(text: str, last: int | None = None) -> set[int]:
    """Read a list as the kernel does: "0-2,5" is {0, 1, 2, 5}; "4-N", "all" and "0-15:2/4" are lists, too.

    `last`: the last core that the kernel may have; where it is not known, N and all can't be read. Raises ValueError.
    """
    cores: set[int] = set()
    for part in re.split(r"[\s,]+", text, flags=re.ASCII):
        if part:
            cores |= _region(part, last)
    return cores


def _region(part: str, last: int | None) -> set[int]:
    """A core, a range, or the first `used` of each `group` of a range."""
    found = _REGION.fullmatch(part)
    if not found:
        raise ValueError(f"cores: expected a core or a range such as 1-3, 4-N or all, got {part!r}")
    first = 0 if found["all"] else _core(found["first"], last)
    stop = _core("N" if found["all"] else found["stop"] or found["first"], last)
    group, used = _core(found["group"] or "1", last), _core(found["used"] or "1", last)
    if stop < first or used > group or not group or stop > (_MOST if last is None else last):
        raise ValueError(f"cores: the kernel refuses {part!r}")
    return {core for core in range(first, stop + 1) if (core - first) % group < used}


def _core(text: str, last: int | None) -> int:
    if text != "N":
        number = int(text.lstrip("0")[:11] or 0)  # 11 digits are too much in any case
        if number >> 32:
            raise ValueError(f"cores: the kernel refuses {text[:20]!r}: expected a number of 32 bits")
        return number
    if last is None:
        raise ValueError("cores: N is the last core that the kernel may have, and that is not known here")
    return last


def listed(cores: Iterable[int]) -> str:
    """For a message: "1, 3", or "none"."""
    return ", ".join(map(str, cores)) or "none"


def affinity(pid: int) -> dict[int, set[int]]:
    """The cores that each thread of a process may run on, read back from the kernel: {tid: cores}."""
    found: dict[int, set[int]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in (task / "status").read_text().splitlines():
                if line.startswith("Cpus_allowed_list:"):
                    found[int(task.name)] = parse_list(line.partition(":")[2])
    return found


def pin(pid: int, cores: Iterable[int]) -> None:
    """Pin every thread of a process, and read it back. Raises EnvironmentBroken if the kernel set another affinity."""
    wanted = set(cores)
    for tid in affinity(pid):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(tid, wanted)
    for tid, got in affinity(pid).items():
        if got != wanted:
            raise EnvironmentBroken(
                f"thread {tid} of process {pid} runs on cores {listed(sorted(got))}, not on {listed(sorted(wanted))}",
                hint="check the cpuset (cgroup) that it is in",
            )


@contextmanager
def pinned_here(cores: Iterable[int]) -> Iterator[None]:
    """Keep this process (all its threads) on `cores` for the time of the context."""
    before = affinity(os.getpid())
    pin(os.getpid(), cores)
    try:
        yield
    finally:
        everything = set().union(*before.values())
        for tid in affinity(os.getpid()):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(tid, before.get(tid, everything))
