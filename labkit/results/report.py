"""report.html: a run as one page that opens offline, for a reader who doubts it.

Nothing is fetched: styles, script and plots are in the file, and its content security policy refuses all else.
Every text of the run is escaped. This module gathers what the template shows; it computes no figure of its own.
"""

from __future__ import annotations

import base64
import errno
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment as Jinja
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup

from labkit import format as fmt
from labkit.errors import EnvironmentBroken
from labkit.machine.durable import replacing
from labkit.machine.ownership import hand_over
from labkit.measure.trial import TrialResult
from labkit.record.codec import encode
from labkit.record.model import Measurement, Outcome
from labkit.record.run import Run
from labkit.results import gate_words, marks
from labkit.results.answer import answer
from labkit.results.bounds import ndr_unstable, rate_words
from labkit.results.drawing import DOUBTS, HATCH, x_ticks
from labkit.results.flavour import tuning
from labkit.results.host_plots import host_histogram, host_percentiles
from labkit.results.lookup import host_times, latencies, of_kind, other_machines
from labkit.results.names import frame_size, frame_words, name, name_of
from labkit.results.outcomes import closing_lines, counts
from labkit.results.plots import Plots
from labkit.results.reference_claims import reference_claims
from labkit.results.row import Row
from labkit.results.rows import rows
from labkit.results.side_by_side import side_by_side
from labkit.results.spread_plot import interval_words, spread_rows
from labkit.results.to_kernel import other_link, ratio_basis
from labkit.results.trust import of_tier
from labkit.targets.rates import max_offered_load_pps

OUTCOMES = {
    Outcome.PASS: "passed",
    Outcome.FAIL: "failed",
    Outcome.SKIP: "skipped",
    Outcome.INVALID: "invalid",
}


def render(run: Run, destination: Path) -> Path:
    """Write the report to `destination` (a file, or a folder that gets a report.html); where it is.

    Raises EnvironmentBroken where it cannot be written.
    """
    target = destination
    try:
        target = destination / "report.html" if destination.is_dir() else destination
        with replacing(target) as draft:
            draft.write_text(html(run), encoding="utf-8")
        hand_over(target)
    except OSError as error:
        raise EnvironmentBroken(
            f"{target} can't be written: {error.strerror}",
            hint="make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "name another: --html FILE",
        ) from error
    return target


def html(run: Run) -> str:
    """The page."""
    jinja = Jinja(
        loader=PackageLoader("labkit.results", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.globals.update(
        fmt=fmt,
        marks=marks,
        name=name,
        frame_size=frame_size,
        max_offered_load_pps=max_offered_load_pps,
        ndr_unstable=ndr_unstable,
        rate_words=rate_words,
        x_ticks=x_ticks,
        hatch=HATCH,
        doubts=DOUBTS,
        ordinal=gate_words.ordinal,
        missed=gate_words.missed,
        host_percentiles=host_percentiles,
        host_histogram=host_histogram,
        other_link=other_link,
        kind_words=gate_words.kind,
    )
    jinja.filters.update(frame_words=frame_words, kind_words=gate_words.kind)
    script, style = (_asset(n) for n in ("report.js", "report.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = rows(run)
    shown = [r for r in found if any(m.key == r.key for m in run.measurements)]
    hosts, measured = ([r for r in shown if r.is_host is wanted] for wanted in (True, False))
    n = counts(run)
    plots = Plots(run, measured)
    return jinja.get_template("report.html.j2").render(
        run=run,
        rows=found,
        testers=side_by_side(run, found),
        measured=measured,
        hosts=hosts,
        host_times=host_times,
        tuning=tuning(run.environment) if run.environment else [],
        notes=notices(run),
        counts=[(outcome.value, n[outcome], word) for outcome, word in OUTCOMES.items()],
        closing=closing_lines(run),
        basis=ratio_basis(found),
        remarks=_remarks(found),
        duration=_duration(run),
        plots=plots,
        answer=answer(run),
        statuses=[s for s in dict.fromkeys(plots.status(r, "throughput", "mrr") for r in measured) if s],
        attempts=lambda row: max((m.attempt for m in run.measurements if m.key == row.key), default=1),
        gate_words=gate_words.used(run.measurements),
        gate_states=gate_words.STATES.items(),
        ladder=_ladder,
        measurements={r.key: [m for m in run.measurements if m.key == r.key] for r in shown},
        of_kind=of_kind,
        compared=[
            (r, m)
            for r in measured
            if (m := of_kind(run, r.key, "predictability")) is not None and m.predictability is not None
        ],
        spread_rows=spread_rows,
        interval_words=interval_words,
        significant=lambda value: fmt.DASH if value is None else fmt.significant(value),
        latencies=latencies,
        reference_claims=reference_claims(run),
        environment=_environment(run),
        flat=_flat,
        bounds=any(rate.at_least for r in found for rate in r.rates),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_sha256=digest,
    )


def notices(run: Run) -> list[tuple[str, str]]:
    """What a reader must know before the first figure: (short, why)."""
    out = []
    if run.state == "interrupted":
        out.append(("Interrupted", "The run stopped early. Only what it had finished is here."))
    if run.start.quick:
        out.append(("Quick run", "Few and short trials: indicative only, not for publication."))
    if simulated := of_tier(run, "simulated"):
        out.append(
            (
                "Simulated",
                f"{', '.join(simulated)}: a model of a DUT, no packet was sent. "
                "Its figures are not measurements.",
            )
        )
    if software := of_tier(run, "software"):
        out.append(
            (
                "Software links",
                f"{', '.join(software)}: no NIC was involved. Compare the datapaths of this page with one another; "
                "the absolute figures are those of this machine, not of a NIC.",
            )
        )
    if emulated := of_tier(run, "vm"):
        out.append(
            (
                "Emulated links",
                f"{', '.join(emulated)}: the NICs and the cables between them are emulated. Its figures show that a "
                "datapath works there, not what a NIC carries.",
            )
        )
    if others := other_machines(run):
        out.append(
            (
                "Several machines",
                f"{', '.join(others)} took part, too. CPU and kernel at the top are the controller's; "
                "those of the others are in the section Environment.",
            )
        )
    if run.environment is None:
        out.append(("No environment record", "The machine was not recorded."))
    return out


def _remarks(found: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """(remark, the rows that it is about): why there is no ratio, which rate is doubtful."""
    basis = ratio_basis(found)
    remarks: dict[str, list[str]] = {}
    for row in found:
        measured = any(rate.pps is not None for rate in row.rates)
        why = row.ratio(basis).why if measured else ""
        for remark in (f"no ratio to the kernel: {why}" if why else "", row.doubt):
            if remark:
                remarks.setdefault(remark, []).append(name_of(row))
    return list(remarks.items())


def _asset(file: str) -> str:
    return (Path(__file__).parent / "templates" / file).read_text(encoding="utf-8")


def _duration(run: Run) -> str:
    if run.end is None:
        return "end unknown"
    seconds = int(
        (datetime.fromisoformat(run.end.ended) - datetime.fromisoformat(run.start.started)).total_seconds()
    )
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


def _ladder(measurement: Measurement | None) -> list[TrialResult]:
    """The trials of a search, by load."""
    if measurement is None or measurement.throughput is None:
        return []
    return sorted(measurement.throughput.trials, key=lambda t: t.intended_load_pps or 0.0)


def _environment(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """The record as sections of (name, value); null is "unknown"."""
    if run.environment is None:
        return []
    record: dict[str, Any] = encode(run.environment)
    loose = {k: v for k, v in record.items() if not isinstance(v, dict | list)}
    sections = [(k, v) for k, v in record.items() if isinstance(v, dict | list) and v]
    return [("run", _flat(loose)), *((k, _flat(v)) for k, v in sections)]


def _flat(value: object, path: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text)."""
    if isinstance(value, Mapping):
        return [pair for k, v in value.items() for pair in _flat(v, f"{path}.{k}" if path else str(k))]
    if isinstance(value, list | tuple):
        if all(not isinstance(v, Mapping | list | tuple) for v in value):
            return [(path, ", ".join(map(str, value)) or "none")]
        named = [
            (str(v.get("name", i)) if isinstance(v, Mapping) else str(i), v) for i, v in enumerate(value)
        ]
        return [pair for k, v in named for pair in _flat(v, f"{path}.{k}" if path else k)]
    words = {None: "unknown", True: "yes", False: "no"}
    return [(path, words[value] if value is None or isinstance(value, bool) else str(value) or "none")]
