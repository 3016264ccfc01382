"""The collection's modules are imported as Ansible does: as `ansible_collections.labkit.host`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "ansible" / "collections"))


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
