"""The ratio of a row's rate to the kernel's: what it is taken to, and where there is none, why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from labkit.record.model import HostKey, Key, Outcome
from labkit.record.run import Run
from labkit.results.lookup import doubts, of_kind, rate_of
from labkit.results.row import Row
from labkit.targets import rates
from labkit.targets.evaluation import engine_of, kernel_baseline
from labkit.targets.rates import Ratio


def ratio_to_kernel(run: Run, key: Key, name: str, verdict: Outcome | None) -> Ratio:
    """The row's rate to the kernel's of the same name. What can't be trusted has no ratio, and is no base of one."""
    own_measured = of_kind(run, key, rates.KINDS[name])
    own = rates.rate(own_measured, name)
    word = name.upper()
    if own is None or own_measured is None:
        return Ratio(value=None, why="" if isinstance(key, HostKey) else f"its {word} was not measured")
    if verdict is Outcome.INVALID or doubts(own_measured):
        return Ratio(value=None, why="invalid itself")
    engine = engine_of(own_measured)
    found = kernel_baseline(run.measurements, key=key, kind=rates.KINDS[name], engine=engine)
    if found is None and (other := kernel_baseline(run.measurements, key=key, kind=rates.KINDS[name])):
        return Ratio(value=None, why=f"the tester's engine was {engine}, {engine_of(other)} with the kernel")
    base_measured = of_kind(run, found.key, found.kind) if found else None
    base = rates.rate(base_measured, name)
    if base is None or base_measured is None:
        return Ratio(value=None, why=f"the kernel's {word} with these frames was not measured")
    where = f"the kernel's {word} on {base_measured.key.topology}"
    if doubts(base_measured):
        return Ratio(value=None, why=f"{where} is invalid")
    if base_measured is own_measured:
        return Ratio(value=1.0 if own.pps else None, why="" if own.pps else f"it has no {word}")
    if name == "pdr":
        if far_below(run, key):
            return Ratio(value=None, why="its PDR is far below its MRR")
        if far_below(run, base_measured.key):
            return Ratio(value=None, why=f"{where} is far below its MRR")
    return replace(rates.ratio(own, base), base=base_measured.key.topology)


def far_below(run: Run, key: Key) -> str:
    """Why the row's PDR is no measure of the path's speed; empty: it is one."""
    return rates.far_below(rate_of(run, key, "pdr"), rate_of(run, key, "mrr"))


def ratio_basis(found: Iterable[Row]) -> str:
    """The rate whose ratios a table shows: one for all rows. MRR only where no row has a PDR."""
    measured = [r for r in found if not r.is_host]
    no_pdr = all(r.pdr_limited_by is None for r in measured)
    return "mrr" if no_pdr and any(r.mrr_pps is not None for r in measured) else "pdr"


def other_link(found: Iterable[Row], row: Row, basis: str) -> str:
    """The topology whose kernel row a row's ratio is taken to, where that is another kind of link; else empty.

    The cost of the links themselves is in such a ratio, so that it is no measure of the datapath alone.
    """
    ratio = row.ratio(basis)
    links = {r.topology: r.link for r in found if r.backend == "kernel"}
    return ratio.base if ratio.value is not None and links.get(ratio.base, row.link) != row.link else ""
