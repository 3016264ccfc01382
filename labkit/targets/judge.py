"""Verdicts: measurements compared with their targets. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.lab.topology import Topology
from labkit.measure.gate import GATE_SCOPE
from labkit.record.model import CAN_BE_MEASURED, CAN_RUN, MEASURED, PASSES, Key, Measurement, Outcome, Verdict
from labkit.targets.evaluation import Evaluation, Target, gate_words, worth_another
from labkit.targets.file import declared, load_targets


def declared_targets(topology: Topology, key: Key, kinds: Sequence[str]) -> tuple[Target, ...]:
    """The targets that a topology's files declare for a row and these kinds. Raises ConfigInvalid."""
    entries = [entry for path in topology.targets for entry in load_targets(path, tier=topology.tier)]
    return declared(entries, key=key, kinds=kinds)


def by_targets(
    targets: Sequence[Target],
    measurements: Sequence[Measurement],
    *,
    kernel: Sequence[Measurement],
) -> tuple[Evaluation, ...]:
    """One evaluation per target; ratios are to those of `kernel` that fit."""
    return tuple(target.evaluate(measurements, kernel=kernel) for target in targets)


def without_target(measurements: Sequence[Measurement]) -> Evaluation:
    """The evaluation of a test without targets: passed, unless a gate says that the figures cannot be trusted."""
    failing = {
        m.kind: (m, [g for g in m.gates if g.state == "invalid" and g.name not in GATE_SCOPE])
        for m in measurements
    }
    reasons = [gate_words(gate) for _, gates in failing.values() for gate in gates]
    return Evaluation(
        target=MEASURED,
        outcome=Outcome.INVALID if reasons else Outcome.PASS,
        value=None,
        unit=None,
        reason="; ".join(reasons) or "no target declared",
        blamed=tuple(b for m, gates in failing.values() if gates for b in worth_another((m,), gates)),
    )


def verdicts(test: str, key: Key, evaluations: Sequence[Evaluation], *, attempt: int) -> tuple[Verdict, ...]:
    """The evaluations of a test's targets as verdicts, as they are stored."""
    return tuple(
        Verdict(
            test=test,
            key=key,
            target=found.target,
            outcome=found.outcome,
            value=found.value,
            unit=found.unit,
            reason=found.reason,
            attempt=attempt,
        )
        for found in evaluations
    )


def skipped(reason: str) -> Evaluation:
    """A row that could not run here, with the reason and the fix."""
    return Evaluation(target=CAN_RUN, outcome=Outcome.SKIP, value=None, unit=None, reason=reason)


def broken(reason: str) -> Evaluation:
    """A measurement that could not be made although it should have been."""
    return Evaluation(
        target=CAN_BE_MEASURED, outcome=Outcome.FAIL, value=None, unit=None, reason=f"aborted: {reason}"
    )


def lost(reason: str) -> Evaluation:
    """A measurement during which the connection to a machine was lost."""
    return Evaluation(target=CAN_BE_MEASURED, outcome=Outcome.INVALID, value=None, unit=None, reason=reason)


def ended(outcome: Outcome, reason: str) -> Evaluation:
    """The outcome of the test itself, whatever its figures are."""
    return Evaluation(target=PASSES, outcome=outcome, value=None, unit=None, reason=reason)
