"""Counts of a trial: what is derived from them, and what cannot be."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabkitBug
from labkit.measure.trial import TrialResult


def trial(intended: int, sent: int, received: int) -> TrialResult:
    return TrialResult(
        intended_load_pps=intended / 2.0, duration_s=2.0, intended=intended, sent=sent, received=received
    )


def test_unsent_frames_count_as_lost_in_the_ratio_but_not_as_lost_frames() -> None:
    result = trial(intended=1000, sent=900, received=890)
    assert (result.unsent, result.lost) == (100, 10)
    assert result.loss_ratio == pytest.approx(0.11)
    assert result.offered_pps == 450.0
    assert result.forwarding_rate_pps == 445.0


@given(counts=st.lists(st.integers(0, 10**9), min_size=3, max_size=3))
def test_the_loss_ratio_is_a_share(counts: list[int]) -> None:
    received, sent, intended = sorted(counts)
    assert 0.0 <= trial(intended, sent, received).loss_ratio <= 1.0


def test_more_received_than_sent_is_a_bug_and_not_a_loss_of_zero() -> None:
    with pytest.raises(LabkitBug, match="negative loss"):
        trial(intended=10, sent=10, received=11)


def test_a_negative_count_is_a_bug() -> None:
    with pytest.raises(LabkitBug, match="negative count"):
        trial(intended=10, sent=10, received=-1)


def test_sending_more_than_intended_does_not_hide_loss() -> None:
    assert trial(intended=100, sent=110, received=100).loss_ratio == pytest.approx(10 / 110)


def test_what_came_late_is_received_but_not_forwarded() -> None:
    trial = TrialResult(
        intended_load_pps=1000.0, duration_s=1.0, intended=1000, sent=1000, received=1000, late=100
    )
    assert (trial.lost, trial.forwarded) == (0, 900)
    assert trial.loss_ratio == pytest.approx(0.1)
    assert trial.forwarding_rate_pps == pytest.approx(900)
    with pytest.raises(LabkitBug):
        dataclasses.replace(trial, late=1001)
