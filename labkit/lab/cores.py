"""Which cores tester, DUT and controller run on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labkit.errors import ConfigInvalid, EnvironmentBroken, Mistakes
from labkit.lab.topology import Topology
from labkit.machine import cores as machine_cores
from labkit.machine.cores import listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Where the three parts run. With two cores the controller shares one: `shared` says which."""

    tester: int
    dut: int
    controller: tuple[int, ...]
    shared: tuple[int, ...]


def check(topology: Topology, available: Iterable[int] | None = None) -> list[int]:
    """The cores that may be used; raises ConfigInvalid where the topology asks for one that is not among them."""
    cores = sorted(available if available is not None else machine_cores.reachable())
    mistakes = Mistakes()
    for role, core in (("tester", topology.tester_core), ("dut", topology.dut_core)):
        with mistakes.noted():
            if core is not None and core not in cores:
                line = topology.core_lines.get(role, 0)
                raise ConfigInvalid(
                    f"{topology.source}{f':{line}' if line else ''}: cores.{role}: core {core} is not available here",
                    hint=f"available: {listed(cores)}; leave cores out to have them chosen",
                    line=line,
                )
    mistakes.check()
    if topology.tester_core is not None and topology.tester_core == topology.dut_core:
        raise ConfigInvalid(f"{topology.source}: cores: tester and dut are both on core {topology.dut_core}")
    return cores


def choose(
    topology: Topology, available: Iterable[int] | None = None, apart: Iterable[int] | None = None
) -> Cores:
    """Pick one core each for tester and DUT of a lab on one machine; see `choose_for`.

    Raises ConfigInvalid for a core that is not available, EnvironmentBroken where there is only one.
    """
    return choose_for(topology.tester_core, topology.dut_core, check(topology, available), apart)


def choose_for(
    tester: int | None,
    dut: int | None,
    available: Iterable[int] | None = None,
    apart: Iterable[int] | None = None,
) -> Cores:
    """Pick one core each for tester and DUT on one machine, where they are not given, the rest for the controller.

    Core 0 takes most interrupts and housekeeping, so it is given out last; no two of a physical core while there
    are others; and isolated cores (`apart`) before others, the first to the DUT, never to the controller while it
    has others. With two cores the controller shares the tester's: what it disturbs there the tester sees and counts
    (stalls, lag, frames unsent), what it disturbed on the DUT's would be taken for the DUT's own loss.

    Raises ConfigInvalid for a core that is not available, EnvironmentBroken where there is only one.
    """
    cores = _available(available, tester, dut)
    if len(cores) < 2:
        raise EnvironmentBroken(
            f"tester and DUT need a core each, only {listed(cores)} is available",
            hint="run on a machine (or in a cpuset) with two cores or more",
        )
    quiet = set(apart) if apart is not None else machine_cores.isolated()
    dut = dut if dut is not None else _pick(cores, {tester}, quiet)
    tester = tester if tester is not None else _pick(cores, {dut}, quiet)
    rest = _rest(cores, {tester, dut}, quiet)
    return Cores(tester=tester, dut=dut, controller=rest or (tester,), shared=() if rest else (tester,))


def choose_one(
    wanted: int | None, available: Iterable[int] | None = None, apart: Iterable[int] | None = None
) -> tuple[int, tuple[int, ...]]:
    """Pick the core of the only role on a machine, where it is not given; and those that are left for the controller.

    The only core of a machine is shared with the controller. Raises ConfigInvalid for a core that is not available.
    """
    cores = _available(available, wanted)
    quiet = set(apart) if apart is not None else machine_cores.isolated()
    core = wanted if wanted is not None else _pick(cores, set(), quiet)
    return core, _rest(cores, {core}, quiet) or (core,)


def _available(available: Iterable[int] | None, *wanted: int | None) -> list[int]:
    cores = sorted(available if available is not None else machine_cores.reachable())
    for core in wanted:
        if core is not None and core not in cores:
            raise ConfigInvalid(
                f"core {core} is not available",
                hint=f"available: {listed(cores)}; leave cores out to have them chosen",
            )
    return cores


def _rest(cores: list[int], taken: set[int], quiet: set[int]) -> tuple[int, ...]:
    """Cores for the controller: those that are not isolated, if there are such."""
    free = [core for core in cores if core not in taken]
    return tuple([core for core in free if core not in quiet] or free)


def _pick(cores: list[int], taken: set[int | None], quiet: set[int]) -> int:
    """The highest free core: on another physical core than those taken and isolated, as far as there are such."""
    busy = set().union(*(machine_cores.siblings(core) for core in taken if core is not None))
    free = [core for core in cores if core not in taken]
    return max(free, key=lambda core: (core not in busy, core in quiet, core))
