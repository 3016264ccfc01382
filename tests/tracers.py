"""Fixtures that stand in for the host's tracers and the kernel's tracing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which each of the programs is found, so that argv can be looked at where none is installed."""
    for name in ("cyclictest", "oslat", "hwlatdetect", "rtla"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def tracing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path / "state"))
    folder = tmp_path / "tracing"
    folder.mkdir()
    (folder / "tracing_on").write_text("1\n")
    (folder / "current_tracer").write_text("nop\n")
    (folder / "instances").mkdir()
    (folder / "osnoise").mkdir()
    for name, value in (("cpus", "0-1"), ("timerlat_period_us", "1000")):
        (folder / "osnoise" / name).write_text(f"{value}\n")
    return folder
