"""Folders that are ours with all that is in them: made empty or unpacked whole, and removed whole."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import downloads
from .files import make_folder
from .state import Change, State

KIND = "tree"
MARKER = ".labkit-sha256"
"""In the folder: of which archive it was unpacked."""
RECORD = ".labkit-files"
"""In the folder: checksums of the files that must be in it, as sha256sum prints them."""
_UNPACKED_S = 600.0


class TreeRefused(Exception):
    """The archive is not what it should be, or something that is not ours is in the place."""


def change(
    role: str,
    path: str,
    *,
    archive: str = "",
    sha256: str = "",
    strip: int = 0,
    needed: Sequence[str] = (),
    validate_certs: bool = True,
    root: Path = Path("/"),
    check: bool = False,
) -> bool:
    """Have the folder there, with what is in the archive. Returns whether that changes anything. Raises TreeRefused.

    `archive`: an http, https or file URL, or a path; it is not needed where the folder was unpacked of it already.
    `strip`: folders that are left out of the names in it. `needed`: what must be in the folder; it is unpacked again
    where one of these files is damaged.
    """
    folder = root / path.lstrip("/")
    state = State(role, root)
    ours = any((one.kind, one.target) == (KIND, path) for one in state.changes())
    if folder.exists() and not ours:
        raise TreeRefused(f"{path} is there already and is not of labkit: left alone. Move it away")
    if folder.is_dir() and unpacked_of(folder) == sha256 and not damaged(folder):
        return False
    if check:
        return True
    if "://" in archive:
        with downloads.scratch(root, "labkit-tree-") as scratch:
            _fetch(archive, sha256, scratch / "archive", validate_certs)
            _make(role, path, str(scratch / "archive"), sha256, strip, needed, root, called=archive)
        return True
    if archive:
        _verify(archive, sha256)
    _make(role, path, archive, sha256, strip, needed, root, called=archive)
    return True


def _make(
    role: str,
    path: str,
    archive: str,
    sha256: str,
    strip: int,
    needed: Sequence[str],
    root: Path,
    *,
    called: str,
) -> None:
    """From an archive that is the right one, or empty. The old folder goes when the new one is whole."""
    folder = root / path.lstrip("/")
    if not folder.parent.exists():
        make_folder(role, str(Path(path).parent), root=root)
    State(role, root).note(KIND, path, None, None)
    fresh = folder.with_name(f".{folder.name}.labkit-new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    fresh.mkdir(mode=0o755)
    if archive:
        _unpack(archive, fresh, strip, called)
        if missing := [name for name in needed if not (fresh / name).exists()]:
            shutil.rmtree(fresh)
            raise TreeRefused(
                f"{called}: {', '.join(missing)} is not in it, so it is another archive, or one with other folders. "
                "Nothing was installed"
            )
        _record(fresh, needed)
        (fresh / MARKER).write_text(f"{sha256}\n", encoding="ascii")
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)


def unpacked_of(folder: Path) -> str:
    """Checksum of the archive that it was unpacked of; none: it was not."""
    try:
        return (folder / MARKER).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _record(folder: Path, needed: Sequence[str]) -> None:
    sums = [(downloads.checksum(folder / name)[0], name) for name in needed if (folder / name).is_file()]
    if sums:
        (folder / RECORD).write_text("".join(f"{one}  {name}\n" for one, name in sums), encoding="utf-8")


def damaged(folder: Path) -> list[str]:
    """Files that are no longer as they were unpacked, of those that were recorded."""
    try:
        lines = (folder / RECORD).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    sums = (line.split("  ", 1) for line in lines)
    return [name for one, name in sums if _checksum(folder / name) != one]


def _checksum(path: Path) -> str:
    try:
        return downloads.checksum(path)[0]
    except OSError:
        return ""


def _fetch(url: str, sha256: str, archive: Path, validate_certs: bool) -> None:
    try:
        downloads.fetch(url, sha256, archive, validate_certs=validate_certs)
    except downloads.DownloadRefused as error:
        raise TreeRefused(str(error)) from error


def _verify(archive: str, sha256: str) -> None:
    try:
        found, _ = downloads.checksum(Path(archive))
    except OSError as error:
        raise TreeRefused(f"{archive}: {error.strerror}. Nothing was changed") from error
    if found != sha256:
        raise TreeRefused(
            f"{archive}: expected sha256 {sha256}, found {found}: half a file, or another one. Nothing was changed"
        )


def _unpack(archive: str, folder: Path, strip: int, called: str) -> None:
    command = ["tar", "--extract", "--file", archive, "--directory", str(folder), "--no-same-owner"]
    command += [f"--strip-components={strip}"] if strip else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_UNPACKED_S)
    except subprocess.TimeoutExpired as error:
        shutil.rmtree(folder)
        raise TreeRefused(f"{called}: not unpacked after {_UNPACKED_S:g} s, stopped") from error
    if done.returncode:
        shutil.rmtree(folder)
        raise TreeRefused(f"{called}: {done.stderr.strip()}")


def restore(change: Change, root: Path) -> str | None:
    """Remove the folder with all that is in it."""
    folder = root / change.target.lstrip("/")
    for one in (folder, folder.with_name(f".{folder.name}.labkit-new")):
        if one.exists():
            shutil.rmtree(one)
    return None
