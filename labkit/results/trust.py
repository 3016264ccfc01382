"""How far rows can be trusted: which are invalid, which are of a model, and what qualifies an answer."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.record.model import Measurement
from labkit.record.run import Run
from labkit.results.lookup import at_load, doubts, other_machines
from labkit.results.names import name
from labkit.results.row import Row


def of_tier(run: Run, tier: str) -> list[str]:
    """Names of the labs of this tier, sorted."""
    labs = run.environment.topologies if run.environment else ()
    return sorted({t.name for t in labs if t.tier == tier})


def simulated(run: Run) -> frozenset[str]:
    """Names of the labs that are models."""
    return frozenset(of_tier(run, "simulated"))


def untrusted(run: Run, row: Row, *kinds: str, load: str | None = None) -> bool:
    """Whether figures of a row can't be trusted: the row is invalid, or a measurement of these kinds (none: any) is.

    `load`: of the kind "latency", the figures at that load.
    """
    if load is not None:
        found = at_load(run, row.key, load)
        mine = [found[0]] if found else []
    else:
        mine = [m for m in run.measurements if m.key == row.key and (not kinds or m.kind in kinds)]
    return row.verdict == "invalid" or any(doubts(m, load) for m in mine)


def status(run: Run, row: Row, *kinds: str, load: str | None = None) -> str:
    """Why the row's figures of these kinds (at that load) can't be trusted: "invalid", "simulated", or empty."""
    return status_of(run, row, untrusted(run, row, *kinds, load=load))


def status_of(run: Run, row: Row, doubted: object) -> str:
    """The same, where it is known whether the figures are in doubt."""
    if row.verdict == "invalid" or doubted:
        return "invalid"
    return "simulated" if row.topology in simulated(run) else ""


def qualifications(
    run: Run, paths: Sequence[Row], measured: Sequence[Row], real: Sequence[Row], sound: Sequence[Row]
) -> list[str]:
    """What a reader has to know before relying on the answer, a phrase each."""
    out = []
    if run.state == "interrupted":
        out.append("the run was interrupted")
    if run.start.quick:
        out.append("a quick run, with short trials and few of them")
    invalid = [r for r in measured if r.topology not in simulated(run) and r not in sound]
    if invalid:
        which = ", ".join(f"{name(r)} on {r.topology}" for r in invalid[:4])
        more = f" and {len(invalid) - 4} more" if len(invalid) > 4 else ""
        verb = "is" if len(invalid) == 1 else "are"
        out.append(f"{len(invalid)} of {len(real)} measured rows {verb} invalid and left out ({which}{more})")
    if len(measured) > len(real):
        out.append(f"{_n_rows(len(measured) - len(real))} of a simulated DUT left out")
    if skipped := [r for r in paths if r not in measured]:
        out.append(f"{len(skipped)} more could not be measured here")
    if doubtful := [r for r in sound if r.doubt]:
        out.append(
            f"a figure of {_n_rows(len(doubtful))} is doubtful in itself ({', '.join(map(name, doubtful))})"
        )
    if again := [r for r in sound if any(m.attempt > 1 for m in _of(run, r))]:
        out.append(f"{_n_rows(len(again))} needed another attempt ({', '.join(map(name, again))})")
    warned = [r for r in sound if any(g.state == "warn" for m in _of(run, r) for g in m.gates)]
    if warned:
        out.append(f"a gate warns in {len(warned)} of the {len(sound)} rows used")
    if of_tier(run, "software"):
        out.append("links in software: no NIC took part")
    if of_tier(run, "vm"):
        out.append("emulated NICs and cables")
    if run.environment and run.environment.virtualisation.guest:
        out.append("a virtual machine")
    if guests := [name for name, host in other_machines(run).items() if host["virtualisation"]["guest"]]:
        out.append(f"{', '.join(guests)}: a virtual machine")
    if run.environment is None:
        out.append("what the machine was is not recorded")
    return out


def _n_rows(n: int) -> str:
    return f"{n} row{'' if n == 1 else 's'}"


def _of(run: Run, row: Row) -> list[Measurement]:
    return [m for m in run.measurements if m.key == row.key]
