"""Counts of a trial: what is derived from them, and what cannot be."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import sample_run

from labkit.errors import LabkitBug
from labkit.measure.trial import TrialResult
from labkit.results.trialview import as_json, as_text


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


def test_one_trial_says_what_was_the_testers_own_doing() -> None:
    """It has no gates: a stall of the tester's, or frames that it never sent, would pass for the DUT's."""
    sample = next(m for m in sample_run().measurements if m.latency)
    assert sample.latency is not None
    sound = dataclasses.replace(sample.latency.points[0].trial, intended_load_pps=1e4, duration_s=1.0)

    def notes_of(**changes: object) -> str:
        changed = dataclasses.replace(sound, **changes)  # type: ignore[arg-type]
        text = as_text(sample.key, changed, sample.proof, {})
        notes = as_json(sample.key, changed, sample.proof, {})["notes"]
        assert isinstance(notes, list)
        assert [line for line in text.splitlines() if line.startswith("  note ")] == [
            f"  note        {note}" for note in notes
        ]
        return " ".join(notes)

    assert notes_of() == ""
    assert notes_of(stall_max_s=0.05, stall_total_s=0.05).startswith(
        "p99, p99.9, max: the tester itself stalled for 5.00% of the time"
    )
    short = notes_of(intended=sound.sent + 500)
    assert short.startswith(
        "most of what is missing was never sent: the path carries at least what was forwarded"
    )
    assert notes_of(intended_load_pps=None, intended=sound.sent + 500) == ""  # the maximum load


def test_a_loss_of_next_to_nothing_is_not_printed_as_none() -> None:
    sample = sample_run().measurements[0]
    text = as_text(sample.key, trial(intended=10**9, sent=10**9, received=10**9 - 1), sample.proof, {})
    assert "loss ratio  0.0000001 %  (1 lost" in text
