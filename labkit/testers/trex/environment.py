"""The Python environment of TRex's client: made at first use, kept in the cache, used by its worker alone."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.machine import fix
from labkit.machine.hosts import LocalHost
from labkit.machine.ownership import caches, hand_over, make_folders, trusted

REQUIREMENT = (
    "lbr-trex-client==3.4.0 --hash=sha256:a9c01c51a2f7b3ebe5eeb78e863285524d8f19e66c5361a6f8b720f8c8aac188"
)
"""TRex's client as a package, with all that it needs in it."""
INTERPRETERS = ("python3.11", "python3.10", "python3.9", "python3.8")
"""Those that the client was made for, the newest first."""
WORKER = Path(__file__).with_name("worker.py")
"""What runs in it; without commands it imports the client, and ends."""
INSTALL_TIMEOUT_S = 300
DRAFTS = ".making-*"
"""Environments that are being made, or were when labkit was killed."""


def cache_folder() -> Path:
    """Where environments are kept. Under sudo in the cache of who called it."""
    return caches()[0] / "trex-client"


def interpreter() -> str:
    """The Python to make it with: one that the client was made for, where there is one, else labkit's own."""
    if sys.version_info < (3, 12):
        return os.path.realpath(sys.executable)
    return next(
        (found for name in INTERPRETERS if (found := shutil.which(name))), os.path.realpath(sys.executable)
    )


def client_python() -> str:
    """The Python that can import the client; its environment is made where it is missing.

    Raises EnvironmentBroken, which names what is missing and how to get it.
    """
    python = interpreter()
    name = hashlib.sha256(f"{REQUIREMENT}\n{python}\n{_version(python)}".encode()).hexdigest()[:16]
    folder = cache_folder() / name
    try:
        if not folder.exists() or any(folder.parent.glob(DRAFTS)):
            _made_once(python, folder)
    except OSError as error:
        raise EnvironmentBroken(
            f"TRex's client cannot be installed in {folder.parent}: {error.strerror}: {error.filename}",
            hint="set XDG_CACHE_HOME to a folder that can be written to",
        ) from error
    if not trusted(folder):
        raise EnvironmentBroken(
            f"{folder} is owned by another user, or writable by everybody: root does not run it",
            hint=f"rm -r {folder}",
        )
    return str(folder / "bin" / "python")


def _made_once(python: str, folder: Path) -> None:
    """Make it, unless another process does meanwhile. What a process that was killed has left is removed."""
    make_folders(folder.parent)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.parent.glob(DRAFTS):
            shutil.rmtree(stale, ignore_errors=True)
        if folder.exists():
            return
        draft = Path(tempfile.mkdtemp(prefix=DRAFTS.rstrip("*"), dir=folder.parent))
        try:
            _make(python, draft)
            draft.chmod(0o755)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        hand_over(folder.parent)


def _version(python: str) -> str:
    return _run([python, "--version"], "asked for its version").strip()


def _make(python: str, folder: Path) -> None:
    _run(
        [python, "-m", "venv", "--clear", str(folder)],
        "could not make an environment",
        hint=fix.packages("python3-venv"),
    )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT}\n")
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    _run(
        [*pip, "--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(requirements)],
        "could not install TRex's client",
        hint="is there a way to a package index? pip's own settings (PIP_INDEX_URL, pip.conf) are followed",
    )
    _run(
        [str(folder / "bin" / "python"), "-I", str(WORKER)],
        "cannot run TRex's client, which is made for Python 3.8 to 3.13",
        hint=f"{' or '.join(INTERPRETERS)} on PATH",
    )


def _run(command: Sequence[str], failed: str, *, hint: str | None = None) -> str:
    """Its output. It dies with labkit, so that nobody writes to the draft of a labkit that was killed."""
    try:
        done = subprocess.run(
            LocalHost().argv(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentBroken(f"{command[0]} {failed}: {error}", hint=hint) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise EnvironmentBroken(f"{command[0]} {failed}: {lines[-1] if lines else 'no output'}", hint=hint)
    return done.stdout
