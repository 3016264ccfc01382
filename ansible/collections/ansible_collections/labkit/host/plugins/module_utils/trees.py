"""Folders that are ours with all that is in them: made empty or unpacked whole, and removed whole."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from .files import make_folder
from .state import Change, State

KIND = "tree"
MARKER = ".labkit-sha256"
"""In the folder: of which archive it was unpacked."""
_UNPACKED_S = 600.0


class TreeRefused(Exception):
    """The archive is not what it should be, or something that is not ours is in the place."""


def change(
    role: str, path: str, *, archive: str = "", sha256: str = "", root: Path = Path("/"), check: bool = False
) -> bool:
    """Have the folder there, with what is in the archive. Returns whether that changes anything. Raises TreeRefused.

    The archive is not needed where the folder was unpacked of it already.
    """
    folder = root / path.lstrip("/")
    state = State(role, root)
    ours = any((one.kind, one.target) == (KIND, path) for one in state.changes())
    if folder.exists() and not ours:
        raise TreeRefused(f"{path} is there already and is not of labkit: left alone. Move it away")
    if folder.is_dir() and unpacked_of(folder) == sha256:
        return False
    if check:
        return True
    if archive:
        _verify(archive, sha256)
    if not folder.parent.exists():
        make_folder(role, str(Path(path).parent), root=root)
    state.note(KIND, path, None, None)
    fresh = folder.with_name(f".{folder.name}.labkit-new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    fresh.mkdir(mode=0o755)
    if archive:
        _unpack(archive, fresh)
        (fresh / MARKER).write_text(f"{sha256}\n", encoding="ascii")
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)
    return True


def unpacked_of(folder: Path) -> str:
    """Checksum of the archive that it was unpacked of; none: it was not."""
    try:
        return (folder / MARKER).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _verify(archive: str, sha256: str) -> None:
    try:
        found = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    except OSError as error:
        raise TreeRefused(f"{archive}: {error.strerror}. Nothing was changed") from error
    if found != sha256:
        raise TreeRefused(
            f"{archive}: expected sha256 {sha256}, found {found}: half a file, or another one. Nothing was changed"
        )


def _unpack(archive: str, folder: Path) -> None:
    command = ["tar", "--extract", "--file", archive, "--directory", str(folder), "--no-same-owner"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_UNPACKED_S)
    except subprocess.TimeoutExpired as error:
        shutil.rmtree(folder)
        raise TreeRefused(f"{archive}: not unpacked after {_UNPACKED_S:g} s, stopped") from error
    if done.returncode:
        shutil.rmtree(folder)
        raise TreeRefused(f"{archive}: {done.stderr.strip()}")


def restore(change: Change, root: Path) -> str | None:
    """Remove the folder with all that is in it."""
    folder = root / change.target.lstrip("/")
    for one in (folder, folder.with_name(f".{folder.name}.labkit-new")):
        if one.exists():
            shutil.rmtree(one)
    return None
