"""What is known of a rate on either side, in figures and in words: the bounds of the search, or that there is none."""

from __future__ import annotations

from labkit import format as fmt
from labkit.measure.gate import GATE_SCOPE
from labkit.measure.limits import DUT, NONE, TESTER
from labkit.record.model import Measurement
from labkit.record.run import Run
from labkit.results.lookup import of_kind
from labkit.results.row import Row
from labkit.targets.metrics import METRICS
from labkit.targets.observed import Observed
from labkit.targets.rates import goal, limited_by

WHY_OPEN = {
    TESTER: "the tester was the limit",
    NONE: "no load was too high",
    DUT: "no load was too high",
}


def _search(run: Run, row: Row) -> Measurement | None:
    m = of_kind(run, row.key, "throughput")
    return m if m and m.throughput else None


def ndr_unstable(run: Run, row: Row) -> bool:
    """Whether a gate that concerns NDR alone shows that it can't be trusted."""
    m = _search(run, row)
    gates = m.gates if m else ()
    return any(g.state == "invalid" and "ndr" in GATE_SCOPE.get(g.name, ()) for g in gates)


def load_bounds(run: Run, row: Row, name: str) -> tuple[float | None, float | None]:
    """The relevant bounds of NDR or PDR [pps]; no upper one where it is the tester's and not the DUT's."""
    m = _search(run, row)
    found = goal(m, name) if m else None
    if m is None or found is None:
        return None, None
    seen = METRICS[name].read(m, None, None)
    open_end = isinstance(seen, Observed) and seen.high is None
    return found.relevant_lower_bound_pps, None if open_end else found.relevant_upper_bound_pps


def rate_words(run: Run, row: Row, name: str) -> str:
    """A rate with what bounds it, such as "PDR 858 kpps (bounds 858 kpps to 885 kpps)"."""
    word = name.upper()
    if name == "ndr" and ndr_unstable(run, row):
        return f"{_words(run, row, name, word)}, invalid: the path loses frames at any load, so NDR can't be measured"
    return _words(run, row, name, word)


def _words(run: Run, row: Row, name: str, word: str) -> str:
    m = of_kind(run, row.key, "mrr" if name == "mrr" else "throughput")
    if m is None:
        return f"{word} not measured"
    seen = METRICS[name].read(m, None, None)
    if not isinstance(seen, Observed):
        low, high = load_bounds(run, row, name)
        if low is not None and high is not None:
            return f"{word} not decided: between {fmt.pps(low)} and {fmt.pps(high)} when the search ended"
        return f"{word} not found: {seen.reason}"
    if seen.high is None:
        least = seen.low if seen.quoted is None else seen.quoted
        if not least:
            return f"{word} {fmt.pps(least)}, and no upper bound is known"
        return f"{word} at least {fmt.pps(least)}: no upper bound is known ({WHY_OPEN[limited_by(m, name)]})"
    if not seen.quoted:
        return f"{word} less than {fmt.pps(seen.high)}: {seen.note or 'no load was carried'}"
    if name == "mrr":
        return f"{word} {fmt.pps(seen.quoted)} (95 % confidence {fmt.pps(seen.low)} to {fmt.pps(seen.high)})"
    low, high = load_bounds(run, row, name)
    return f"{word} {fmt.pps(seen.quoted)} (bounds of the load {fmt.pps(low)} to {fmt.pps(high)})"
