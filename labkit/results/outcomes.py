"""Verdicts added up: the worst of several, how many there are of each, and the lines that close a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from labkit.record.model import CAN_BE_MEASURED, MEASURED, NO_TARGET, Key, Measurement, Outcome, Verdict
from labkit.record.run import Run
from labkit.results.lookup import doubts

SEVERITY = {Outcome.PASS: 0, Outcome.SKIP: 1, Outcome.INVALID: 2, Outcome.FAIL: 3}
"""The worst verdict of a row is the row's."""


def worst(verdicts: Iterable[Verdict]) -> Outcome | None:
    """The severest outcome; None of none."""
    return max((v.outcome for v in verdicts), key=SEVERITY.__getitem__, default=None)


def counts(run: Run) -> Counter[Outcome]:
    """How many verdicts of each outcome."""
    return Counter(v.outcome for v in run.verdicts)


def closing_lines(run: Run) -> tuple[str, str]:
    """Such as "targets: 7 passed, 1 failed, 2 skipped, 1 invalid", and the same of tests: all four, always."""
    by_test: dict[str, list[Verdict]] = {}
    for verdict in run.verdicts:
        by_test.setdefault(verdict.test, []).append(verdict)
    tests = Counter(outcome for of in by_test.values() if (outcome := worst(of)) is not None)
    without = sum(v.target == MEASURED and v.outcome is Outcome.PASS for v in run.verdicts)
    broken = sum(v.target == CAN_BE_MEASURED and v.outcome is Outcome.FAIL for v in run.verdicts)
    notes = [
        f"{without} of the passed had no target: they were measured" if without else "",
        f"{broken} of the failed missed none: the measurement was aborted" if broken else "",
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


def row_verdict(run: Run, key: Key, measurements: list[Measurement]) -> tuple[Outcome | None, str]:
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
