"""When further attempts are worth their time."""

from __future__ import annotations

import pytest

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
