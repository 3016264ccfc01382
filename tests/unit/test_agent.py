"""How the agent reads its commands, and that it gives up on a controller that is gone; what drivers tell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from labkit.agent import server
from labkit.machine import nic_driver


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_lines_are_read_as_they_come_also_in_pieces(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b'{"a": 1}\n{"b"')
    lines = server._lines(reading, SimpleNamespace(lost_after_s=None))
    assert next(lines) == '{"a": 1}'
    os.write(writing, b": 2}\n")
    assert next(lines) == '{"b": 2}'
    os.close(writing)
    assert list(lines) == []


def test_a_controller_that_says_nothing_for_too_long_is_lost(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"{}\n")
    lines = server._lines(reading, SimpleNamespace(lost_after_s=0.01))
    assert next(lines) == "{}"
    with pytest.raises(server._Lost):
        next(lines)


def test_loopback_has_no_driver_that_tells_and_no_pause_frames() -> None:
    assert nic_driver.pause("lo") is None
    assert nic_driver.pause("nosuch0") is nic_driver.driver("nosuch0") is None
