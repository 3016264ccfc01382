"""Fixtures of the tests of the collection's modules."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def endless(tmp_path, monkeypatch):
    """Puts a program in the way that does not end by itself."""

    def put(name):
        program = tmp_path / "bin" / name
        program.parent.mkdir()
        program.write_text("#!/bin/sh\nexec sleep 60\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return put
