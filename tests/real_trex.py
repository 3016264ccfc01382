"""A real TRex server, where a test is given one: its directory, its version, and an archive of it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.testers.trex.server import directory


def given(request: pytest.FixtureRequest) -> Path:
    """Where it is. Skips where none was given."""
    option = request.config.getoption("--labkit-trex-dir")
    if not option and not os.environ.get("LABKIT_TREX_DIR"):
        pytest.skip("needs a TRex server: --labkit-trex-dir DIRECTORY, or LABKIT_TREX_DIR")
    return directory(option, option="--labkit-trex-dir")


@dataclass(frozen=True)
class Archive:
    """One as the role trex takes it."""

    file: Path
    version: str
    sha256: str


def packed(server: Path, folder: Path) -> Archive:
    """Pack it, as TRex's own archives are, into a file of the folder. The version is what it says itself."""
    ask = subprocess.run(
        [server / "_t-rex-64", "--help"], cwd=server, capture_output=True, text=True, check=False
    )
    found = re.search(r"v\d+\.\d+", ask.stdout)
    assert found, f"no version in what it says: {ask.stdout[:300]}{ask.stderr[:300]}"
    file = folder / f"{found.group()}.tar.gz"
    flags = [f"--transform=s,^\\.,{found.group()},", "--exclude=*.debug", "-C", str(server), "."]
    subprocess.run(["tar", "-chf", file, *flags], check=True)
    return Archive(file, found.group(), hashlib.sha256(file.read_bytes()).hexdigest())
