"""A run as a table: one row for everything that was measured or skipped. Pure; `labkit report --json` prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from labkit.measure.gate import GATE_SCOPE
from labkit.measure.hosttimes import HostTimes
from labkit.measure.latency import LatencyPoint
from labkit.measure.limits import DUT
from labkit.record.model import (
    CAN_BE_MEASURED,
    HOST,
    MEASURED,
    NO_TARGET,
    HostKey,
    Key,
    Measurement,
    Outcome,
    Verdict,
)
from labkit.record.run import Run
from labkit.targets import rates
from labkit.targets.evaluation import engine_of, kernel_baseline
from labkit.targets.rates import Rate, Ratio

SEVERITY = {Outcome.PASS: 0, Outcome.SKIP: 1, Outcome.INVALID: 2, Outcome.FAIL: 3}
"""The worst verdict of a row is the row's."""

HOST_KINDS = ("hardware", "wakeup", "timerlat", "busy_loop")
"""Of the host itself, in the order of a run: what the hardware takes is in every wake-up, and so on."""

IDLE = "idle"
HALF = "50% PDR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; None where it was not measured. Times without a load in their name are unloaded."""

    key: Key
    """What the row is about; the next eight fields are its columns."""
    backend: str
    """Of the host itself "lowlatency", with the kind of measurement as mode, and "host" as link."""
    mode: str
    topology: str
    link: str
    frame: str
    frame_size_bytes: int | None
    """On the wire, with FCS; None for a mix of sizes (then `frame` names it)."""
    ip_version: int
    flows: int
    ndr_pps: float | None
    pdr_pps: float | None
    mrr_pps: float | None
    ndr_limited_by: str | None
    """dut, tester or none (no upper bound was found); see `at_least`. One for each rate: they may differ."""
    pdr_limited_by: str | None
    mrr_limited_by: str | None
    ratio_to_kernel: float | None
    """PDR to the kernel backend's PDR at the same frame and flows: on the same lab, else on another."""
    ratio_bound: str
    """ "at least" or "at most", where one of the two PDRs is a lower bound; else empty."""
    ratio_note: str
    """Why there is no ratio; empty where there is one."""
    ratio_base: str
    """The topology of the kernel's row that it is taken to."""
    mrr_ratio_to_kernel: float | None
    """The same of MRR."""
    mrr_ratio_bound: str
    mrr_ratio_note: str
    mrr_ratio_base: str
    rtt_p50_us: float | None
    rtt_p99_us: float | None
    rtt_p999_us: float | None
    rtt_max_us: float | None
    rtt_50pdr_p50_us: float | None
    rtt_50pdr_p99_us: float | None
    rtt_50pdr_p999_us: float | None
    rtt_50pdr_max_us: float | None
    limited_by: str | None
    """The worse of NDR's and PDR's, else MRR's: what the row said before each rate had its own."""
    host_n: int | None
    """Of the host itself (link "host"): times counted, on all cores."""
    host_cores: str | None
    host_p50_us: float | None
    """On the slowest core, as each of the following."""
    host_p99_us: float | None
    host_p999_us: float | None
    host_max_us: float | None
    host_note: str
    """What the figures alone do not say."""
    doubt: str
    """Why a rate is not to be believed although no target failed for it."""
    quick: bool
    verdict: str | None
    reason: str

    def rate(self, name: str) -> Rate:
        """NDR, PDR or MRR with its own mark."""
        return Rate(
            name=name,
            pps=getattr(self, f"{name}_pps"),
            limited_by=getattr(self, f"{name}_limited_by") or DUT,
        )

    @property
    def rates(self) -> tuple[Rate, ...]:
        """All three."""
        return tuple(self.rate(name) for name in rates.KINDS)

    @property
    def is_host(self) -> bool:
        """Whether it is about the host itself, not about a datapath."""
        return isinstance(self.key, HostKey)

    def ratio(self, name: str) -> Ratio:
        """PDR's or MRR's ratio to the kernel's."""
        if name == "mrr":
            return Ratio(
                value=self.mrr_ratio_to_kernel,
                bound=self.mrr_ratio_bound,
                why=self.mrr_ratio_note,
                base=self.mrr_ratio_base,
            )
        return Ratio(
            value=self.ratio_to_kernel, bound=self.ratio_bound, why=self.ratio_note, base=self.ratio_base
        )

    def as_json(self) -> dict[str, Any]:
        """The row as a JSON object, keys as the fields are named, and for each rate whether it is a lower bound."""
        columns = {name: value for name, value in asdict(self).items() if name != "key"}
        return {**columns, **{f"{rate.name}_at_least": rate.at_least for rate in self.rates}}


def rows(run: Run) -> list[Row]:
    """Rows in the order in which they were first measured or skipped; those of the host itself first."""
    keys = dict.fromkeys(
        [m.key for m in run.measurements] + [v.key for v in run.verdicts if v.key is not None],
    )
    return [_row(run, key) for key in sorted(keys, key=_place)]


def _place(key: Key) -> int:
    """The host first, each kind the floor under the next; datapaths as they came."""
    if not isinstance(key, HostKey):
        return len(HOST_KINDS) + 1
    return HOST_KINDS.index(key.kind) if key.kind in HOST_KINDS else len(HOST_KINDS)


def of_kind(run: Run, key: Key, kind: str) -> Measurement | None:
    """The measurement of that kind; the last one where it was repeated."""
    return next((m for m in reversed(run.measurements) if m.key == key and m.kind == kind), None)


def point(measurement: Measurement | None, load: str) -> LatencyPoint | None:
    """The latency at a load of the ladder."""
    if measurement is None or measurement.latency is None:
        return None
    return next((p for p in measurement.latency.points if p.load == load), None)


def doubts(measurement: Measurement) -> list[str]:
    """Why its figures can't be trusted: gates that it missed, a mode that it could not prove.

    A gate that concerns one metric only speaks through the targets on that metric.
    """
    kind = measurement.kind
    missed = [
        f"{kind}: {g.name}: {g.why}"
        for g in measurement.gates
        if g.state == "invalid" and g.name not in GATE_SCOPE
    ]
    return (
        missed
        if measurement.proof.proven
        else [*missed, f"{kind}: mode not proven: {measurement.proof.claim}"]
    )


def worst(verdicts: Iterable[Verdict]) -> Outcome | None:
    """The severest outcome; None of none."""
    return max((v.outcome for v in verdicts), key=SEVERITY.__getitem__, default=None)


def counts(run: Run) -> Counter[Outcome]:
    """How many verdicts of each outcome."""
    return Counter(v.outcome for v in run.verdicts)


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


def closing_lines(run: Run) -> tuple[str, str]:
    """Such as "targets: 7 passed, 1 failed, 2 skipped, 1 invalid", and the same of tests: all four, always."""
    by_test: dict[str, list[Verdict]] = {}
    for verdict in run.verdicts:
        by_test.setdefault(verdict.test, []).append(verdict)
    tests = Counter(outcome for of in by_test.values() if (outcome := worst(of)) is not None)
    without = sum(v.target == MEASURED and v.outcome is Outcome.PASS for v in run.verdicts)
    broken = sum(v.target == CAN_BE_MEASURED for v in run.verdicts)
    notes = [
        f"{without} of the passed had no target: they were measured" if without else "",
        f"{broken} of the failed missed none: the measurement broke off" if broken else "",
    ]
    note = f" ({'; '.join(filter(None, notes))})" if any(notes) else ""
    return f"targets: {_counted(counts(run))}{note}", f"tests:   {_counted(tests)}"


def _counted(n: Counter[Outcome]) -> str:
    words = {
        Outcome.PASS: "passed",
        Outcome.FAIL: "failed",
        Outcome.SKIP: "skipped",
        Outcome.INVALID: "invalid",
    }
    return ", ".join(f"{n[outcome]} {word}" for outcome, word in words.items())


def _row(run: Run, key: Key) -> Row:
    measurements = [m for m in run.measurements if m.key == key]
    throughput, mrr, latency = (of_kind(run, key, k) for k in ("throughput", "mrr", "latency"))
    idle, half = point(latency, IDLE), point(latency, HALF)
    verdict, reason = _verdict(run, key, measurements)
    ndr, pdr, peak = (rate_of(run, key, name) for name in rates.KINDS)
    ratio, mrr_ratio = (_ratio(run, key, name, verdict) for name in ("pdr", "mrr"))
    whole = throughput or mrr
    return Row(
        key=key,
        **_columns(key),
        ndr_pps=ndr.pps if ndr else None,
        pdr_pps=pdr.pps if pdr else None,
        mrr_pps=peak.pps if peak else None,
        ndr_limited_by=ndr.limited_by if ndr else None,
        pdr_limited_by=pdr.limited_by if pdr else None,
        mrr_limited_by=peak.limited_by if peak else None,
        ratio_to_kernel=ratio.value,
        ratio_bound=ratio.bound,
        ratio_note=ratio.why,
        ratio_base=ratio.base,
        mrr_ratio_to_kernel=mrr_ratio.value,
        mrr_ratio_bound=mrr_ratio.bound,
        mrr_ratio_note=mrr_ratio.why,
        mrr_ratio_base=mrr_ratio.base,
        rtt_p50_us=idle.p50_us if idle else None,
        rtt_p99_us=idle.p99_us if idle else None,
        rtt_p999_us=idle.p999_us if idle else None,
        rtt_max_us=idle.max_us if idle else None,
        rtt_50pdr_p50_us=half.p50_us if half else None,
        rtt_50pdr_p99_us=half.p99_us if half else None,
        rtt_50pdr_p999_us=half.p999_us if half else None,
        rtt_50pdr_max_us=half.max_us if half else None,
        limited_by=whole.limited_by if whole else None,
        **_host(measurements[-1] if isinstance(key, HostKey) and measurements else None),
        doubt=_doubt(run, key),
        quick=run.start.quick,
        verdict=verdict.value if verdict else None,
        reason=reason,
    )


def _columns(key: Key) -> dict[str, Any]:
    """The fields of a row that say what it is about."""
    if isinstance(key, HostKey):
        none = {"frame": "", "frame_size_bytes": None, "ip_version": 4, "flows": 1}
        return {"backend": HOST, "mode": key.kind, "topology": key.topology, "link": "host", **none}
    columns = asdict(key)
    return {**columns, "frame_size_bytes": int(key.frame) if key.frame.isdigit() else None}


def rate_of(run: Run, key: Key, name: str) -> Rate | None:
    """The row's rate of that name; None where it was not measured."""
    return rates.rate(of_kind(run, key, rates.KINDS[name]), name)


def _ratio(run: Run, key: Key, name: str, verdict: Outcome | None) -> Ratio:
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
        if _far_below(run, key):
            return Ratio(value=None, why="its PDR is far below its MRR")
        if _far_below(run, base_measured.key):
            return Ratio(value=None, why=f"{where} is far below its MRR")
    return replace(rates.ratio(own, base), base=base_measured.key.topology)


def _far_below(run: Run, key: Key) -> str:
    return rates.far_below(rate_of(run, key, "pdr"), rate_of(run, key, "mrr"))


def _doubt(run: Run, key: Key) -> str:
    """What makes one rate doubtful and leaves the others: it is said, whatever the verdict."""
    throughput = of_kind(run, key, "throughput")
    gates = [
        f"{'/'.join(sorted(GATE_SCOPE[g.name])).upper()}: gate {g.name}: {g.value} ({g.limit})"
        for g in (throughput.gates if throughput else ())
        if g.state == "invalid" and g.name in GATE_SCOPE
    ]
    return "; ".join(part for part in (*gates, _far_below(run, key)) if part)


def host_times(measurement: Measurement) -> HostTimes | None:
    """The times by core, of the kinds that have them."""
    return measurement.wakeup or measurement.timerlat or measurement.busy_loop


def _host(measurement: Measurement | None) -> dict[str, Any]:
    """The fields of a row that is about the host itself."""
    out: dict[str, Any] = dict.fromkeys(
        ("host_n", "host_cores", "host_p50_us", "host_p99_us", "host_p999_us", "host_max_us")
    )
    out["host_note"] = ""
    if measurement is None:
        return out
    if (gaps := measurement.hardware) is not None:
        note = "" if gaps.max_us is not None else f"none above {gaps.threshold_us:g} µs"
        return out | {"host_n": gaps.gaps, "host_max_us": gaps.max_us, "host_note": note}
    if (times := host_times(measurement)) is not None:
        for field in ("p50_us", "p99_us", "p999_us", "max_us"):
            worst = times.worst(field)
            out[f"host_{field}"] = None if worst is None else getattr(worst, field)
        out["host_n"] = sum(core.counted for core in times.cores)
        out["host_cores"] = listed(core.core for core in times.cores)
    return out


def listed(cores: Iterable[int]) -> str:
    """As the kernel writes it: "0-2,5"."""
    spans: list[list[int]] = []
    for core in sorted(cores):
        if spans and core == spans[-1][1] + 1:
            spans[-1][1] = core
        else:
            spans.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _verdict(run: Run, key: Key, measurements: list[Measurement]) -> tuple[Outcome | None, str]:
    """The worst of the row's targets. A measurement that can't be trusted makes it invalid, target or none."""
    verdicts = [v for v in run.verdicts if v.key == key]
    outcome = worst(verdicts)
    by_reason: dict[str, dict[str, None]] = {}
    for v in verdicts:
        if v.outcome is outcome and v.reason:
            by_reason.setdefault(v.reason, {})[v.target] = None
    reasons = [_with_targets(reason, list(targets)) for reason, targets in by_reason.items()]
    why = [d for m in measurements for d in doubts(m)]
    if why and SEVERITY[outcome or Outcome.PASS] < SEVERITY[Outcome.INVALID]:
        outcome, reasons = Outcome.INVALID, why
    elif why and outcome is Outcome.FAIL:
        reasons += [f"besides, not to be trusted: {'; '.join(dict.fromkeys(why))}"]
    return outcome, "; ".join(dict.fromkeys(reasons))


def _with_targets(reason: str, targets: list[str]) -> str:
    """Such as "pdr >= 10 Mpps, p99 <= 100 us: gate steal: 3.1%": what could not run at all had no target."""
    named = [target for target in targets if target not in NO_TARGET]
    return f"{', '.join(named)}: {reason}" if named else reason
