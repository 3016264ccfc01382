"""Verdicts: what becomes of measurements that are held to targets. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.results.model import Key, Measurement, Outcome, Verdict
from labkit.targets import GATE_SCOPE, Target
from labkit.targets_file import declared, load_targets
from labkit.topology import Topology


def declared_targets(topology: Topology, key: Key, kinds: Sequence[str]) -> tuple[Target, ...]:
    """The targets that a topology's files declare for a row and these kinds. Raises ConfigInvalid."""
    entries = [entry for path in topology.targets for entry in load_targets(path, tier=topology.tier)]
    return declared(entries, key=key, kinds=kinds)


def by_targets(
    test: str,
    key: Key,
    targets: Sequence[Target],
    measurements: Sequence[Measurement],
    *,
    kernel: Sequence[Measurement],
) -> tuple[Verdict, ...]:
    """One verdict a target; ratios are taken to those of `kernel` that fit."""
    ends = [target.evaluate(measurements, kernel=kernel) for target in targets]
    return tuple(
        Verdict(
            test=test,
            key=key,
            target=end.target,
            outcome=end.outcome,
            value=end.value,
            unit=end.unit,
            reason=end.reason,
        )
        for end in ends
    )


def without_target(test: str, key: Key, measurements: Sequence[Measurement]) -> Verdict:
    """The end of a test that has no target: passed, unless a gate says that the figures cannot be trusted."""
    failing = [g for m in measurements for g in m.gates if g.state == "invalid" and g.name not in GATE_SCOPE]
    reason = "; ".join(f"gate {g.name}: {g.value} ({g.limit})" for g in failing) or "no target declared"
    outcome = Outcome.INVALID if failing else Outcome.PASS
    return Verdict(
        test=test, key=key, target="measured", outcome=outcome, value=None, unit=None, reason=reason
    )


def skipped(test: str, key: Key, reason: str) -> Verdict:
    """What could not run here, and why, and what would mend it."""
    return Verdict(
        test=test, key=key, target="can run here", outcome=Outcome.SKIP, value=None, unit=None, reason=reason
    )


def broken(test: str, key: Key, reason: str) -> Verdict:
    """A measurement that could not be made although it should have been."""
    return Verdict(
        test=test,
        key=key,
        target="can be measured",
        outcome=Outcome.FAIL,
        value=None,
        unit=None,
        reason=reason,
    )
