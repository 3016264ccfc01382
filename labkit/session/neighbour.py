"""A noisy neighbour: a load on the other cores of the DUT's machine, while a spread is measured.

What cores share (the last-level cache, the memory, the interconnect, a hypervisor's scheduler) is what a datapath with
cores of its own still depends on. stress-ng makes that load; it ends with the context, however that ends.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.machine import cores as machine_cores
from labkit.machine import fix
from labkit.machine.guarded import GuardedProgram
from labkit.machine.hosts import Host

PROGRAM = "stress-ng"
SETTLE_S = 0.3
"""From its start until its memory is there and all of it runs."""
_TIMEOUT_S = 20.0
_STRESSOR = re.compile(r"[a-z][a-z0-9-]*")
_ASK = f"""
command -v {PROGRAM} >/dev/null && echo here || echo missing
cat /sys/devices/system/cpu/online
for core in "$@"; do
    cat /sys/devices/system/cpu/cpu"$core"/topology/thread_siblings_list 2>/dev/null || echo "$core"
done
"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What is wanted: stressors of stress-ng by name, on each core; and the cores, where they are given."""

    stressors: tuple[str, ...]
    cores: frozenset[int] | None = None
    """None: all but those of tester and DUT, and what shares a physical core with them."""

    @property
    def words(self) -> str:
        """What a load is measured beside."""
        return f"{PROGRAM} {','.join(self.stressors)}"

    def argv(self, cores: Sequence[int]) -> list[str]:
        """The command that runs it on these cores: each stressor once on each."""
        each = [word for name in self.stressors for word in (f"--{name}", str(len(cores)))]
        return ["taskset", "--cpu-list", ",".join(map(str, cores)), PROGRAM, "--quiet", *each]


def wanted(stressors: str, cores: str | None) -> Neighbour:
    """Read what a user writes: "stream", "cache,switch"; cores as "0,2-3". Raises ConfigInvalid."""
    names = tuple(name.strip() for name in stressors.split(","))
    if odd := [name for name in names if not _STRESSOR.fullmatch(name)]:
        raise ConfigInvalid(
            f"neighbour: expected names of {PROGRAM}'s stressors, such as stream or cache,switch; got {odd[0]!r}"
        )
    try:
        chosen = None if cores is None else frozenset(machine_cores.parse_list(cores))
    except ValueError as error:
        raise ConfigInvalid(f"neighbour_cores: {error}") from None
    if chosen is not None and not chosen:
        raise ConfigInvalid(f"neighbour_cores: expected a list of cores such as 0,2-3, got {cores!r}")
    return Neighbour(names, chosen)


def others(online: set[int], siblings: Mapping[int, set[int]]) -> list[int]:
    """The cores that share no physical core with those that are taken (`siblings`: by each of them)."""
    return sorted(online - set().union(*siblings.values(), siblings))


@dataclass(frozen=True, slots=True)
class Place:
    """Where it can run; or why it can't."""

    cores: tuple[int, ...] = ()
    why_not: str = ""


def place(neighbour: Neighbour, host: Host, taken: Sequence[int]) -> Place:
    """Ask the DUT's machine for the program and the cores. `taken`: the cores of what is measured there.

    Raises ConfigInvalid for cores that it does not have, EnvironmentBroken where it can't be asked.
    """
    done = subprocess.run(
        host.argv(["sh", "-c", _ASK, "sh", *map(str, taken)]),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = done.stdout.split("\n")
    if done.returncode != 0 or len(lines) < 2 + len(taken):
        raise EnvironmentBroken(
            f"the cores of {host.name} can't be read: {done.stderr.strip() or done.returncode}"
        )
    online = machine_cores.parse_list(lines[1])
    if neighbour.cores is not None and (absent := sorted(neighbour.cores - online)):
        raise ConfigInvalid(
            f"neighbour_cores: core {absent[0]} is not available on {host.name}",
            hint=f"available: {machine_cores.listed(sorted(online))}",
        )
    if lines[0] != "here":
        return Place(why_not=f"{PROGRAM} is not installed (fix: {fix.packages(PROGRAM)})")
    shared = {core: machine_cores.parse_list(line) for core, line in zip(taken, lines[2:], strict=False)}
    cores = sorted(neighbour.cores) if neighbour.cores is not None else others(online, shared)
    if not cores:
        return Place(
            why_not="the machine has no core beside those of tester and DUT (fix: a larger machine, or neighbour_cores)"
        )
    return Place(cores=tuple(cores))


@contextmanager
def running(neighbour: Neighbour, host: Host, cores: Sequence[int]) -> Iterator[GuardedProgram]:
    """It runs on these cores. Raises ToolFailed, with what it printed, where it does not."""
    with GuardedProgram(host, neighbour.argv(cores), called=neighbour.words) as program:
        program.await_for(SETTLE_S)
        yield program
        program.check_alive()
