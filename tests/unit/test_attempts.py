"""When further attempts are worth their time."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.harness.options import times
from labkit.machine.usage import Usage
from labkit.session.attempts import lasts


def busy(cores: float) -> Usage:
    return Usage(steal=0.0, steal_cpu=None, others_cores=cores, programs=(), by_pid={})


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (busy(2.0), busy(1.0), True),
        (busy(2.0), busy(0.4), False),
        (busy(0.4), busy(2.0), False),
        (None, busy(2.0), False),
        (busy(2.0), None, False),
    ],
)
def test_a_machine_that_was_busy_and_still_is_will_be(
    before: Usage | None, now: Usage | None, expected: bool
) -> None:
    assert lasts(before, now) is expected


@pytest.mark.parametrize(
    ("given", "expected"), [(None, (90.0, 30.0)), ("5min", (300.0, 300.0)), ("0", (0.0, 0.0))]
)
def test_a_time_for_repeats_that_the_user_chose_is_not_shortened(
    given: str | None, expected: tuple[float, float]
) -> None:
    class Config:
        invocation_params = pytest.Config.InvocationParams(args=(), plugins=None, dir=Path())

        def getoption(self, name: str) -> str | None:
            return given if name == "--labkit-retry" else None

    found = times(Config())  # type: ignore[arg-type]
    assert (found.retry_s, found.retry_busy_s) == expected
