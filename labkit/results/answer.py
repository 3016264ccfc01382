"""What bypass buys here, in a few sentences: the first thing that a report says.

A datapath is compared only with the kernel's on the same lab, with the same frames, by the same figure. Rows that
can't be trusted and labs that are models are left out and counted; a ratio that would flatter is not given. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit import format as fmt
from labkit.record.run import Run
from labkit.results.groups import STACK, Group, grouped, is_bypass
from labkit.results.lookup import of_kind, point
from labkit.results.names import name
from labkit.results.row import Row
from labkit.results.rows import rows
from labkit.results.trust import qualifications, simulated, untrusted
from labkit.targets.observed import Observed
from labkit.targets.rates import rate
from labkit.units import IDLE

SAME_LOAD = 0.01
"""Two loads are the same where they differ by no more than this share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer, and how far it can be trusted."""

    lead: str
    details: tuple[str, ...]
    """A line for each lab and frame size: the ratios, or why there is none."""
    trust: tuple[str, ...]
    """What qualifies the answer; empty: nothing does, beyond its being one run on one machine."""


def answer(run: Run) -> Answer:
    """The answer that a run gives."""
    paths = [r for r in rows(run) if not r.is_host]
    measured = [r for r in paths if any(m.key == r.key for m in run.measurements)]
    models = simulated(run)
    real = [r for r in measured if r.topology not in models]
    sound = [r for r in real if not untrusted(run, r)]
    groups = grouped(run, real, sound)
    if any(g.best for g in groups):
        lead = _lead(run, [g for g in groups if g.best])
    else:
        why = _why_nothing(paths, measured, real, sound, groups)
        lead = f"Nothing can be said here about what kernel bypass buys: {why}."
    details = tuple(_detail(run, g) for g in groups) if sound else ()
    return Answer(
        lead=lead,
        details=details,
        trust=tuple(qualifications(run, paths, measured, real, sound) if measured else ()),
    )


def _names(found: Iterable[Row]) -> str:
    return ", ".join(name(r) for r in found)


def _why_nothing(
    paths: Sequence[Row],
    measured: Sequence[Row],
    real: Sequence[Row],
    sound: Sequence[Row],
    groups: Sequence[Group],
) -> str:
    if not paths:
        return "no datapath was measured"
    if not measured:
        return (
            "every datapath was skipped"
            if all(r.verdict == "skip" for r in paths)
            else "no datapath was measured"
        )
    if not real:
        return "every figure is of a model of a DUT, no packet was sent"
    if not sound:
        return "every measured row is invalid"
    if not any(is_bypass(r) for r in sound):
        return "no valid row is of a bypass datapath"
    if not any(r.backend == STACK for r in sound):
        return "no valid row is of the kernel's own datapath, which is what bypass is compared with"
    shared = next((g for g in groups if g.kernel and any(is_bypass(r) for r in g.others)), None)
    if shared is None or shared.kernel is None:
        return "no bypass datapath has a valid row on the same lab with the same frames as the kernel"
    why, lacking = next((w, found) for w, found in shared.lacking if any(map(is_bypass, found)))
    return f"on {shared.where} there is no ratio of {_names(filter(is_bypass, lacking))} ({why})"


def times(seen: Observed) -> str:
    """Such as "2.28 to 2.34 times", "at least 1.9 times", "at most 3 times": each side is rounded to the outside."""
    low = _rounded(seen.low, math.floor)
    if seen.high is None:
        return f"at least {low} times"
    high = _rounded(seen.high, math.ceil)
    if seen.low <= 0:
        return f"at most {high} times"
    return f"{low} times" if low == high else f"{low} to {high} times"


def _rounded(value: float, towards: object) -> str:
    if value <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    whole = math.floor(value / step + 1e-9) if towards is math.floor else math.ceil(value / step - 1e-9)
    return fmt.significant(whole * step)


def _lead(run: Run, groups: Sequence[Group]) -> str:
    bests = [(g, g.best) for g in groups if g.best is not None]
    if len(bests) == 1:
        group, best = bests[0]
        able = sum(is_bypass(c.row) for c in group.compared)
        which = f"{name(best.row)}, the fastest of {able} bypass datapaths," if able > 1 else name(best.row)
        return (
            f"{_gain(best.seen)} on {group.topology} with {group.sent}, {which} carried {times(best.seen)} "
            f"as many {group.sent.partition(' ')[0]} per second as the kernel ({group.figure})."
        )
    least = min(bests, key=lambda b: b[1].seen.low)
    highs = [b.seen.high for _, b in bests]
    most = None if None in highs else max(h for h in highs if h is not None)
    together = Observed(low=least[1].seen.low, high=most, quoted=None)
    return (
        f"{_gain(together)} where bypass and the kernel were measured on the same lab with the same frames "
        f"({len(bests)} cases), the fastest bypass datapath carried {times(together)} as many frames per second "
        f"as the kernel; the least was {name(least[1].row)} on {least[0].where}."
    )


def _gain(seen: Observed) -> str:
    if seen.high is not None and seen.high < 1:
        return "Bypass bought no throughput here:"
    if seen.low <= 1:
        return "A gain in throughput is not shown everywhere here:"
    return "Bypass bought throughput here:"


def _detail(run: Run, group: Group) -> str:
    words = []
    if group.compared:
        ratios = ", ".join(f"{name(c.row)} {times(c.seen)}" for c in group.compared)
        words.append(f"{ratios} the kernel's {group.figure}")
    if group.kernel and not group.compared:
        words.append(f"the kernel carried {_carried(run, group.kernel) or 'nothing that can be quoted'}")
    for why, found in group.lacking:
        carried = [
            f"{name(r)} ({rate_of_row})" if (rate_of_row := _carried(run, r)) else name(r) for r in found
        ]
        words.append(f"no ratio{' of ' if found else ''}{', '.join(carried)}: {why}")
    able = [r for r in group.others if is_bypass(r)]
    fastest = max(able, key=lambda r: r.pdr_pps or r.mrr_pps or 0.0, default=None)
    subject = group.best.row if group.best else fastest
    if subject and group.kernel and (trip := _round_trip(run, subject, group.kernel)):
        words.append(trip)
    return f"{group.where}: " + "; ".join(words)


def _carried(run: Run, row: Row) -> str:
    """The row's PDR, else its MRR, as "at least" where it is that."""
    for kind, figure in (("throughput", "PDR"), ("mrr", "MRR")):
        m = of_kind(run, row.key, kind)
        found = rate(m, figure.lower())
        if found is not None and found.pps:
            bound = "at least" if found.at_least else ""
            return f"{bound} {fmt.pps(found.pps, bound=bound)} {figure}".lstrip()
    return ""


def _round_trip(run: Run, row: Row, kernel: Row) -> str:
    """Round trips of both at the same load, unloaded; empty where there is no such."""
    own, base = (point(run, r.key, IDLE) for r in (row, kernel))
    if own is None or base is None or not math.isclose(own.load_pps, base.load_pps, rel_tol=SAME_LOAD):
        return ""

    def times_us(p50_us: float, p99_us: float | None) -> str:
        tail = f", {fmt.duration_us(p99_us)} (p99)" if p99_us is not None else ""
        return f"{fmt.duration_us(p50_us)} (p50){tail}"

    return (
        f"unloaded round trip of {name(row)} {times_us(own.p50_us, own.p99_us)}, "
        f"of the kernel {times_us(base.p50_us, base.p99_us)}"
    )
