"""The doctor, as far as it needs neither namespaces nor root."""

from __future__ import annotations

from labkit import doctor
from labkit.doctor import scratch


def test_check_ids_are_unique_and_each_has_a_fix():
    ids = [check.id for check in doctor.checks()]

    assert len(set(ids)) == len(ids)
    assert all(check.fix() and check.title for check in doctor.checks())


def test_without_unshare_every_check_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")

    answers = scratch.attempt_all(["kernel", "cores"])

    assert {name: answer.error for name, answer in answers.items()} == dict.fromkeys(
        ("kernel", "cores"), "no scratch namespace: unshare: not found (package util-linux)"
    )
    assert all("util-linux" in str(answer.fix) for answer in answers.values())
