"""Which tests are measured again, and the number of each attempt: decided by validity alone, never by value."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.machine.usage import Usage
from labkit.record.model import Measurement

CONNECTION_LOST = "the connection was lost"
"""Why a test without a measurement is worth another attempt."""
LASTING_CORES = 1.0
"""Other programs that keep as much busy at the beginning of a run and after its last test will not end soon."""


def lasts(before: Usage | None, now: Usage | None) -> bool:
    """Whether other programs kept a whole core busy both times."""
    return all(usage is not None and usage.others_cores >= LASTING_CORES for usage in (before, now))


class Attempts:
    """Remembers, for each test, the measurements that are worth another attempt: see `Evaluation.blamed`."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._blamed: dict[str, list[Measurement]] = {}
        self._unsure: dict[str, list[Measurement]] = {}
        self._begun: dict[str, tuple[Measurement, ...]] = {}
        self._interrupted: set[str] = set()

    def number(self, test: str) -> int:
        """Which attempt of the test it is: 1 and up."""
        return self._numbers.get(test, 1)

    def blame(
        self,
        test: str,
        measurements: Sequence[Measurement],
        *,
        unsure: Sequence[Measurement],
    ) -> None:
        """Another attempt at these measurements is worthwhile: see `Evaluation.blamed`.

        `unsure`: at their limit alone, which a disturbed maximum offered load decided. Their rates are not measured
        again.
        """
        self._blamed.setdefault(test, []).extend(measurements)
        self._unsure.setdefault(test, []).extend(unsure)

    def interrupt(self, test: str) -> None:
        """The connection to a machine was lost in the test: it has no measurement that could be blamed."""
        self._interrupted.add(test)

    def interrupted(self, test: str) -> bool:
        """Whether the test's present attempt was interrupted."""
        return test in self._interrupted

    def to_repeat(self, test: str) -> tuple[Measurement, ...]:
        """What would have to be measured again."""
        unique = {id(measurement): measurement for measurement in self._blamed.get(test, ())}
        return tuple(unique.values())

    def unsure(self, test: str) -> tuple[Measurement, ...]:
        """The measurements whose limit would have to be decided again, and whose rates stay."""
        return tuple(self._unsure.get(test, ()))

    def worthwhile(self, test: str) -> bool:
        """Whether another attempt may help. If not, the test is valid, or invalid for a permanent reason."""
        return bool(self._blamed.get(test) or self._unsure.get(test) or test in self._interrupted)

    def begin(self, test: str) -> tuple[Measurement, ...]:
        """The test's next attempt begins. Returns what is to be measured again."""
        self._numbers[test] = self.number(test) + 1
        measurements = self.to_repeat(test)
        self._blamed.pop(test, None)
        self._unsure.pop(test, None)
        self._interrupted.discard(test)
        self._begun[test] = measurements
        return measurements

    def begun(self, test: str) -> tuple[Measurement, ...]:
        """What the test's present attempt is there to measure again."""
        return self._begun.get(test, ())
