"""How far a run is: "3 of 28, about 4 min left"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean


class Pace:
    """Which tests have ended, and how long those of their kind take."""

    def __init__(self, kinds: Mapping[str, str], *, clock: Callable[[], float], of: str = "") -> None:
        """`kinds`: for each test of the run (by its id) what tests that take equally long have in common.

        `of`: the lab that all of them measure, where others are measured beside it.
        """
        self._of = of
        self._kinds = kinds
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._open = set(kinds)
        self._took_s: dict[str, list[float]] = {}

    def knows(self, test: str) -> bool:
        """Whether the test is one of those that are counted."""
        return test in self._kinds

    def begin(self, test: str) -> None:
        """A test begins; one that is run again is still the same one."""
        self._begun[test] = self._clock()

    def end(self, test: str, *, measured: bool) -> None:
        """A test has ended. What was skipped says nothing about how long the others take."""
        if test in self._begun and measured:
            self._took_s.setdefault(self._kinds.get(test, ""), []).append(self._clock() - self._begun[test])
        self._open.discard(test)

    @property
    def words(self) -> str:
        """For a line of progress; the time only once there is something to judge it by."""
        total = len(self._kinds)
        if not total or not self._open:
            return ""
        words = f"{total - len(self._open) + 1} of {total}{f' on {self._of}' if self._of else ''}"
        left_s = self._left_s()
        return words if left_s is None else f"{words}, about {_time(left_s)} left"

    def _left_s(self) -> float | None:
        every = [one for took in self._took_s.values() for one in took]
        if not every:
            return None
        return sum(fmean(self._took_s.get(self._kinds[test], every)) for test in self._open)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{max(round(seconds, -1), 10):.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
