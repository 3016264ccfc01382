"""junit.xml in the run's folder (--labkit-junit)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.errors import EnvironmentBroken
from labkit.machine import durable
from labkit.machine.ownership import hand_over, make_folders

_MEMORY = pytest.StashKey[int]()
"""Descriptor of the file that is in memory until the run's folder exists."""
_OWN = pytest.StashKey[Path]()
"""The file of the user's own (--junitxml)."""


def begin(config: pytest.Config) -> None:
    """Have pytest write its file. Raises UsageError where it cannot.

    The run's folder does not exist before something was measured: until then the file is in memory, where a kill -9
    leaves nothing of it. A file of the user's own is written where they want it, and copied.
    """
    if not config.getoption("--labkit-junit"):
        return
    if not hasattr(config.option, "xmlpath"):
        raise pytest.UsageError(
            "pytest's plugin junitxml, which writes the run's junit.xml, is switched off\n"
            "  hint: leave -p no:junitxml out"
        )
    if config.option.xmlpath is None:
        config.stash[_MEMORY] = os.memfd_create("labkit-junit")
        config.option.xmlpath = f"/proc/self/fd/{config.stash[_MEMORY]}"
    else:
        own = Path(os.path.expandvars(config.option.xmlpath)).expanduser().absolute()  # as pytest reads it
        _check_writable(own)
        config.stash[_OWN] = own


def make_folders_of_own(config: pytest.Config) -> None:
    """Make the folders of the user's own file, which pytest is about to write: it would leave them to root."""
    if _OWN in config.stash:
        with suppress(OSError):  # which pytest reports, for the file
            make_folders(config.stash[_OWN].parent)


def end(config: pytest.Config, folder: Path | None) -> None:
    """Put the file into the run's folder (None: there is none)."""
    if _MEMORY in config.stash:
        with os.fdopen(config.stash[_MEMORY], "rb") as made:
            made.seek(0)
            text = made.read()
    elif _OWN in config.stash:
        own = config.stash[_OWN]
        text = own.read_bytes() if own.is_file() else b""
        if text:
            hand_over(own)
    else:
        return
    if folder is not None and text:
        with durable.replacing(folder / "junit.xml") as draft:
            draft.write_bytes(text)
        hand_over(folder / "junit.xml")


def _check_writable(file: Path) -> None:
    """Raise UsageError where --junitxml cannot be written: pytest itself would notice after all measurements."""
    from labkit.record.space import check_root

    try:
        there = file.exists()
        check_root(file.parent)
        if file.parent.is_dir():
            file.open("ab").close()
            if not there:
                file.unlink()
    except (EnvironmentBroken, OSError) as error:
        raise pytest.UsageError(f"--junitxml {file} can't be written: {error}") from error
