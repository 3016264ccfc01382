"""What bypass buys here, in a few sentences: the first thing that a report says.

Like is compared with like only: a datapath against the kernel's on the same lab, with the same frames, by the same
figure. Rows that can't be trusted and labs that are models are left out and counted; a ratio that would flatter is
not given. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit import format as fmt
from labkit.record.model import Measurement
from labkit.record.run import Run
from labkit.results.names import name
from labkit.results.rows import IDLE, Row, doubts, of_kind, point, rows
from labkit.targets.metrics import METRICS
from labkit.targets.observed import Observed, Unknown
from labkit.targets.rates import rate

STACK = "kernel"
IN_THE_STACK = {("af_packet", ""), ("dpdk", "net_af_packet")}
"""Datapaths (backend, mode) whose frames still pass the kernel's packet sockets: compared, but no bypass."""

SAME_LOAD = 0.01
"""Two loads are the same where they differ by no more than this share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What can be said, and how far it can be trusted."""

    lead: str
    details: tuple[str, ...]
    """A line for each lab and frame size: the ratios, or why there is none."""
    trust: tuple[str, ...]
    """What qualifies the answer; empty: nothing does, beyond its being one run on one machine."""


@dataclass(frozen=True, slots=True)
class _Compared:
    row: Row
    seen: Observed
    """Times the kernel: between its conservative sides."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows on one lab with the same frames."""

    topology: str
    frame: str
    others: tuple[Row, ...]
    """Every sound row but the kernel's own."""
    kernel: Row | None
    figure: str
    compared: tuple[_Compared, ...]
    """The highest first."""
    lacking: tuple[tuple[str, tuple[Row, ...]], ...]
    """Why there is no ratio, and of which rows."""

    @property
    def where(self) -> str:
        return f"{self.topology}, {self.frame}" if self.frame else self.topology

    @property
    def best(self) -> _Compared | None:
        """The bypass datapath with the highest ratio."""
        return next((c for c in self.compared if is_bypass(c.row)), None)


def is_bypass(row: Row) -> bool:
    """Whether its frames pass by the kernel's stack and its packet sockets."""
    return row.backend != STACK and (row.backend, row.mode) not in IN_THE_STACK


def simulated(run: Run) -> frozenset[str]:
    """Names of the labs that are models."""
    labs = run.environment.topologies if run.environment else ()
    return frozenset(t.name for t in labs if t.tier == "simulated")


def untrusted(run: Run, row: Row, *kinds: str) -> bool:
    """Whether figures of a row can't be trusted: the row is invalid, or a measurement of these kinds (none: any) is."""
    mine = [m for m in run.measurements if m.key == row.key and (not kinds or m.kind in kinds)]
    return row.verdict == "invalid" or any(doubts(m) for m in mine)


def frame_size(row: Row) -> str:
    """Such as "64 B", "imix"; empty where there is no frame."""
    return f"{row.frame} B" if row.frame.isdigit() else row.frame


def frame_words(row: Row) -> str:
    """The same with what a row's name has beside it: "64 B IPv6, 4 flows"."""
    size = frame_size(row) + (" IPv6" if row.ip_version == 6 else "")
    return ", ".join(p for p in (size, _flows(row)) if p)


def _flows(row: Row) -> str:
    return f"{row.flows} flows" if row.flows > 1 else ""


def answer(run: Run) -> Answer:
    """Read the answer off a run."""
    paths = [r for r in rows(run) if not r.is_host]
    measured = [r for r in paths if any(m.key == r.key for m in run.measurements)]
    models = simulated(run)
    real = [r for r in measured if r.topology not in models]
    sound = [r for r in real if not untrusted(run, r)]
    groups = _groups(run, real, sound)
    if any(g.best for g in groups):
        lead = _lead(run, [g for g in groups if g.best])
    else:
        why = _why_nothing(paths, measured, real, sound, groups)
        lead = f"Nothing can be said here about what kernel bypass buys: {why}."
    details = tuple(_detail(run, g) for g in groups) if sound else ()
    return Answer(
        lead=lead, details=details, trust=tuple(_trust(run, paths, measured, real, sound) if measured else ())
    )


def _names(found: Iterable[Row]) -> str:
    return ", ".join(name(r) for r in found)


def _why_nothing(
    paths: Sequence[Row],
    measured: Sequence[Row],
    real: Sequence[Row],
    sound: Sequence[Row],
    groups: Sequence[_Group],
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


# --- like with like ---


def _groups(run: Run, real: Sequence[Row], sound: Sequence[Row]) -> list[_Group]:
    alike: dict[tuple[str, str, int, int], list[Row]] = {}
    for r in real:
        alike.setdefault((r.topology, r.frame, r.ip_version, r.flows), []).append(r)
    return [_group(run, together, sound) for together in alike.values()]


def _group(run: Run, together: Sequence[Row], sound: Sequence[Row]) -> _Group:
    valid = [r for r in together if r in sound]
    kernel = next((r for r in valid if (r.backend, r.mode) == (STACK, "")), None)
    others = tuple(r for r in valid if r.backend != STACK)
    pairs = [(r, _ratio(run, r, kernel)) for r in others] if kernel else []
    compared = sorted(
        (_Compared(r, seen) for r, (seen, _) in pairs if isinstance(seen, Observed)),
        key=lambda c: c.seen.low,
        reverse=True,
    )
    figures = {figure for _, (seen, figure) in pairs if isinstance(seen, Observed)}
    lacking: dict[str, list[Row]] = {}
    for r, (seen, _) in pairs:
        if isinstance(seen, Unknown):
            lacking.setdefault(seen.reason, []).append(r)
    if not others:
        alone = all(r.backend == STACK for r in together)
        why = (
            "nothing but the kernel was measured there with these frames"
            if alone
            else "no other row is valid"
        )
        lacking[why + _left_out(together, sound)] = []
    elif kernel is None:
        invalid = any((r.backend, r.mode) == (STACK, "") for r in together)
        why = (
            "the kernel's row is invalid" if invalid else "the kernel's datapath was not measured on this lab"
        )
        lacking[why] = list(others)
    return _Group(
        topology=together[0].topology,
        frame=frame_words(together[0]),
        others=others,
        kernel=kernel,
        figure=" and ".join(sorted(figures)),
        compared=tuple(compared),
        lacking=tuple((why, tuple(found)) for why, found in lacking.items()),
    )


def _left_out(together: Sequence[Row], sound: Sequence[Row]) -> str:
    out = [name(r) for r in together if r not in sound]
    return f" (invalid: {', '.join(out)})" if out else ""


def _ratio(run: Run, row: Row, kernel: Row) -> tuple[Observed | Unknown, str]:
    """PDR to PDR, or MRR to MRR where a search is missing on either side; between the conservative sides of both."""
    for kind, figure in (("throughput", "PDR"), ("mrr", "MRR")):
        own, base = (of_kind(run, r.key, kind) for r in (row, kernel))
        if own is None or base is None:
            continue
        mine, its = (rate(m, figure.lower()) for m in (own, base))
        if mine and its and mine.at_least and its.at_least:
            return Unknown(
                f"its {figure} and the kernel's are lower bounds, for the tester was the limit"
            ), figure
        ratio = row.ratio(figure.lower())
        if ratio.value is None:
            return Unknown(ratio.why), figure
        seen = METRICS["ratio_to_kernel"].read(own, None, base)
        return (_at_most(own, base, figure) if isinstance(seen, Unknown) else seen), figure
    return Unknown("the two have no rate in common"), ""


def _at_most(own: Measurement, base: Measurement, figure: str) -> Observed | Unknown:
    """The ratio to a kernel whose own figure is a lower bound."""
    read = METRICS[figure.lower()].read
    mine, its = read(own, None, None), read(base, None, None)
    if isinstance(mine, Observed) and isinstance(its, Observed) and mine.high is not None and its.low > 0:
        return Observed(low=0.0, high=mine.high / its.low, quoted=None)
    return Unknown(f"the {figure}s of the two do not compare")


# --- in words ---


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


def _lead(run: Run, groups: Sequence[_Group]) -> str:
    bests = [(g, g.best) for g in groups if g.best is not None]
    if len(bests) == 1:
        group, best = bests[0]
        able = sum(is_bypass(c.row) for c in group.compared)
        which = f"{name(best.row)}, the fastest of {able} bypass datapaths," if able > 1 else name(best.row)
        return (
            f"{_gain(best.seen)} on {group.topology} with frames of {group.frame}, {which} carried {times(best.seen)} "
            f"as many frames per second as the kernel ({group.figure})."
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


def _detail(run: Run, group: _Group) -> str:
    words = []
    if group.compared:
        ratios = ", ".join(f"{name(c.row)} {times(c.seen)}" for c in group.compared)
        words.append(f"{ratios} the kernel's {group.figure}")
    if group.kernel and not group.compared:
        words.append(f"the kernel carried {_carried(run, group.kernel) or 'nothing that can be quoted'}")
    for why, found in group.lacking:
        carried = [f"{name(r)} ({said})" if (said := _carried(run, r)) else name(r) for r in found]
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
    own, base = (point(of_kind(run, r.key, "latency"), IDLE) for r in (row, kernel))
    if own is None or base is None or not math.isclose(own.load_pps, base.load_pps, rel_tol=SAME_LOAD):
        return ""

    def said(p50_us: float, p99_us: float | None) -> str:
        tail = f", {fmt.duration_us(p99_us)} (p99)" if p99_us is not None else ""
        return f"{fmt.duration_us(p50_us)} (p50){tail}"

    return (
        f"unloaded round trip of {name(row)} {said(own.p50_us, own.p99_us)}, "
        f"of the kernel {said(base.p50_us, base.p99_us)}"
    )


# --- how far to trust it ---


def _trust(
    run: Run, paths: Sequence[Row], measured: Sequence[Row], real: Sequence[Row], sound: Sequence[Row]
) -> list[str]:
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
        out.append(f"a rate of {_n_rows(len(doubtful))} is doubtful in itself ({_names(doubtful)})")
    if again := [r for r in sound if any(m.attempt > 1 for m in _of(run, r))]:
        out.append(f"{_n_rows(len(again))} needed another attempt ({_names(again)})")
    warned = [r for r in sound if any(g.state == "warn" for m in _of(run, r) for g in m.gates)]
    if warned:
        out.append(f"a gate warns in {len(warned)} of the {len(sound)} rows used")
    tiers = {t.tier for t in run.environment.topologies} if run.environment else set()
    if "software" in tiers:
        out.append("links in software: no NIC took part")
    if run.environment and run.environment.virtualisation.guest:
        out.append("a virtual machine")
    if run.environment is None:
        out.append("what the machine was is not recorded")
    return out


def _n_rows(n: int) -> str:
    return f"{n} row{'' if n == 1 else 's'}"


def _of(run: Run, row: Row) -> list[Measurement]:
    return [m for m in run.measurements if m.key == row.key]
