"""A run as a table: one row for everything that was measured or skipped. Pure; `labkit report --json` prints it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from labkit import format as fmt
from labkit.measure.gate import BASE, GATE_SCOPE, invalid_for
from labkit.record.model import HOST, HOST_KINDS, HostKey, Key, Measurement
from labkit.record.run import Run
from labkit.results.lookup import (
    HALF,
    at_load,
    doubts,
    host_times,
    latencies,
    of_kind,
    of_some_loads,
    point,
    rate_of,
)
from labkit.results.outcomes import row_verdict
from labkit.results.row import Row
from labkit.results.to_kernel import far_below, ratio_to_kernel
from labkit.targets import rates
from labkit.targets.evaluation import gate_words
from labkit.units import IDLE, parse_whole


def rows(run: Run) -> list[Row]:
    """Rows in the order in which they were first measured or skipped; those of the host itself first."""
    keys = dict.fromkeys(
        [m.key for m in run.measurements] + [v.key for v in run.verdicts if v.key is not None],
    )
    return [_row(run, key) for key in sorted(keys, key=place)]


def place(key: Key) -> int:
    """The host first, in the order of HOST_KINDS; datapaths in the order of the run."""
    if not isinstance(key, HostKey):
        return len(HOST_KINDS) + 1
    return HOST_KINDS.index(key.kind) if key.kind in HOST_KINDS else len(HOST_KINDS)


def _row(run: Run, key: Key) -> Row:
    measurements = [m for m in run.measurements if m.key == key]
    throughput, mrr = (of_kind(run, key, k) for k in ("throughput", "mrr"))
    idle, half = point(run, key, IDLE), point(run, key, HALF)
    verdict, reason = row_verdict(run, key, measurements)
    ndr, pdr, peak = (rate_of(run, key, name) for name in rates.KINDS)
    ratio, mrr_ratio = (ratio_to_kernel(run, key, name, verdict) for name in ("pdr", "mrr"))
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
        ndr_invalid=bool(throughput and invalid_for(throughput.gates, "ndr")),
        rtt_50pdr_invalid=bool((at_half := at_load(run, key, HALF)) and doubts(at_half[0], HALF)),
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
    """The fields of a row that name what it is about."""
    if isinstance(key, HostKey):
        none = {"frame": "", "frame_size_bytes": None, "ip_version": 4, "flows": 1, "traffic": ""}
        return {"backend": HOST, "mode": key.kind, "topology": key.topology, "link": "host", **none}
    columns = asdict(key)
    return {**columns, "frame_size_bytes": parse_whole(key.frame)}


def _doubt(run: Run, key: Key) -> str:
    """What makes some of the row's figures doubtful and not the others; shown whatever the verdict."""
    throughput = of_kind(run, key, "throughput")
    gates = [
        f"{'/'.join(sorted(GATE_SCOPE[g.name])).upper()}: {gate_words(g)}"
        for g in (throughput.gates if throughput else ())
        if g.state == "invalid" and g.name in GATE_SCOPE
    ]
    loads = [
        f"round trips at loads relative to {g.name.removeprefix(BASE).upper()}: {gate_words(g)}"
        for latency in latencies(run, key)
        for g in of_some_loads(latency)
    ]
    return "; ".join(part for part in (*gates, *dict.fromkeys(loads), far_below(run, key)) if part)


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
        out["host_cores"] = fmt.cores(core.core for core in times.cores)
    return out
