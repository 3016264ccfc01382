"""Turns how a test ended in pytest into the verdicts of its rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from labkit.record.model import Key, Measurement, Outcome, Verdict
from labkit.targets import judge


@dataclass(slots=True)
class Ending:
    """How one run of a test ended, gathered from its setup, call and teardown. Empty: that did not happen."""

    broken: str = ""
    """A measurement was aborted by an error."""
    lost: str = ""
    """The connection to a machine that was measured was lost."""
    failed: str = ""
    """The test itself failed: an assert of its own, an exception, a fixture, its teardown."""
    skipped: str = ""
    """The test was skipped, by us or by its author."""
    expected: str = ""
    """It failed as its author expects (xfail)."""
    required: bool = False
    """A skip is a failure (--labkit-require)."""
    bad_input: bool = False
    """What failed is the test's own input (a unit, a frame size)."""

    @property
    def happened(self) -> bool:
        """Whether there is anything to report besides targets."""
        return bool(self.broken or self.lost or self.failed or self.skipped or self.expected)


def conclude(
    test: str,
    ending: Ending,
    judged: Sequence[Verdict],
    *,
    tried: Key,
    measured: Sequence[Measurement],
    attempt: int = 1,
) -> tuple[Verdict, ...]:
    """The verdicts of a test that has ended.

    `judged`: those of its targets; `measured`: its measurements; `tried`: its row, if it has none.
    """
    rows = tuple(dict.fromkeys(m.key for m in measured)) or (tried,)

    def everywhere(outcome: Outcome, reason: str) -> list[Verdict]:
        end = judge.ended(outcome, reason)
        return [v for key in rows for v in judge.verdicts(test, key, (end,), attempt=attempt)]

    verdicts = list(judged)
    if ending.expected:
        why = f"expected to fail ({ending.expected})"
        missed = any(v.outcome is Outcome.FAIL for v in verdicts)
        verdicts = [_turned(v, Outcome.FAIL, Outcome.SKIP, why) for v in verdicts]
        verdicts += [] if missed else everywhere(Outcome.SKIP, why)
    if ending.broken:
        verdicts += judge.verdicts(test, tried, (judge.broken(ending.broken),), attempt=attempt)
    if ending.lost:
        verdicts += judge.verdicts(test, tried, (judge.lost(ending.lost),), attempt=attempt)
    if ending.failed:
        verdicts += everywhere(Outcome.FAIL, ending.failed)
    if ending.skipped and not any(v.outcome is Outcome.SKIP for v in verdicts):
        verdicts += everywhere(Outcome.SKIP, ending.skipped)
    if ending.skipped and ending.required:
        verdicts = [_turned(v, Outcome.SKIP, Outcome.FAIL, "required, and skipped") for v in verdicts]
    return tuple(verdicts)


def _turned(verdict: Verdict, old: Outcome, new: Outcome, why: str) -> Verdict:
    if verdict.outcome is not old:
        return verdict
    return replace(verdict, outcome=new, reason=f"{why}: {verdict.reason}")
