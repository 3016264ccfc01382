"""Where the journal is kept, and what a process that is not root reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken
from labkit.machine.privilege import state_directory


def test_the_state_directory_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", "/some/where")
    assert state_directory() == Path("/some/where")


def test_root_keeps_it_in_var_and_users_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_STATE_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_directory() == Path("/var/lib/labkit")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/u")
    assert state_directory() == Path("/home/u/.local/state/labkit")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/u/st")
    assert state_directory() == Path("/home/u/st/labkit")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    with pytest.raises(EnvironmentBroken, match="LABKIT_STATE_DIR"):
        state_directory()
