"""junit.xml in the run's folder (--labkit-junit)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken
from labkit.machine import durable
from labkit.machine.ownership import hand_over

_MEMORY = pytest.StashKey[int]()
"""Descriptor of the file that is in memory until the run's folder exists."""


def begin(config: pytest.Config) -> None:
    """Have pytest write its file. Raises UsageError where --junitxml cannot be written.

    The run's folder does not exist before something was measured: until then the file is in memory, where a kill -9
    leaves nothing of it. A file of the user's own is written where they want it, and copied.
    """
    if not config.getoption("--labkit-junit"):
        return
    if config.option.xmlpath is None:
        config.stash[_MEMORY] = os.memfd_create("labkit-junit")
        config.option.xmlpath = f"/proc/self/fd/{config.stash[_MEMORY]}"
    else:
        _check_writable(Path(config.option.xmlpath))


def end(config: pytest.Config, folder: Path | None) -> None:
    """Put the file into the run's folder (None: there is none)."""
    if not config.getoption("--labkit-junit"):
        return
    if _MEMORY in config.stash:
        with os.fdopen(config.stash[_MEMORY], "rb") as made:
            made.seek(0)
            text = made.read()
    else:
        own = Path(config.option.xmlpath)
        text = own.read_bytes() if own.is_file() else b""
        if text:
            hand_over(own)
    if folder is not None and text:
        with durable.replacing(folder / "junit.xml") as draft:
            draft.write_bytes(text)
        hand_over(folder / "junit.xml")


def _check_writable(file: Path) -> None:
    """Raise UsageError where --junitxml cannot be written: pytest itself would notice after all measurements."""
    from labkit.record.space import check_root

    there = file.exists()
    try:
        check_root(file.parent)
        if file.parent.is_dir():
            file.open("ab").close()
            if not there:
                file.unlink()
    except (EnvironmentBroken, OSError) as error:
        raise pytest.UsageError(f"--junitxml {file} can't be written: {error}") from error
