"""A program built from its source archive, into a folder of its own below our prefix.

Nothing is unpacked before the archive's checksum is right. The folder's marker is written last: a folder without it is
what a build left that broke off, and is built anew.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import downloads, trees
from .files import make_folder
from .state import State, write_whole

PREFIX = "usr/local/lib/labkit"
MARKER = ".labkit-source.json"
SCRATCH = "labkit-source-"
_BUILD_S = 3 * 3600.0
"""DPDK takes half an hour on two slow cores."""


class SourceRefused(Exception):
    """Nothing was installed; says why."""


@dataclass(frozen=True)
class Source:
    """An archive, and what is made of it."""

    name: str
    version: str
    url: str
    """http, https or file URL, or a path on the host itself."""
    sha256: str
    options: list[str]
    """Of meson setup."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for key, text in (("name", self.name), ("version", self.version)):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+~_-]*", text):
                raise ValueError(f"{key} {text!r}: expected letters, digits, and . + ~ _ - between them")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 {self.sha256!r}: expected 64 hexadecimal digits, of sha256sum ARCHIVE")

    @property
    def prefix(self) -> str:
        """Where it is installed."""
        return f"/{PREFIX}/{self.name}-{self.version}"


def change(role: str, source: Source, *, root: Path = Path("/"), check: bool = False) -> bool:
    """Build and install it where it is not. Returns whether that changes anything. Raises SourceRefused."""
    target = root / source.prefix.lstrip("/")
    if _marked(target) == asdict(source):
        return False
    _free(role, source, root)
    if check:
        return True
    with downloads.scratch(root, SCRATCH) as scratch:
        archive = scratch / "archive"
        _fetch(source, archive)
        if not target.parent.exists():
            make_folder(role, str(Path(source.prefix).parent), root=root)
        State(role, root).note(trees.KIND, source.prefix, None, None)
        try:
            _build(source, archive, scratch, target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    return True


def look(role: str, source: Source, *, root: Path = Path("/")) -> None:
    """Whether it could be built, before anything that builds it is installed. Raises SourceRefused."""
    if _marked(root / source.prefix.lstrip("/")) == asdict(source):
        return
    _free(role, source, root)
    with downloads.scratch(root, SCRATCH) as scratch:
        _fetch(source, scratch / "archive")


def _free(role: str, source: Source, root: Path) -> None:
    ours = any((one.kind, one.target) == (trees.KIND, source.prefix) for one in State(role, root).changes())
    if (root / source.prefix.lstrip("/")).exists() and not ours:
        raise SourceRefused(f"{source.prefix} is there, and labkit did not make it: move it away first")


def _marked(target: Path) -> object:
    try:
        return json.loads((target / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _fetch(source: Source, archive: Path) -> None:
    """The archive, if it is the one that was meant."""
    try:
        downloads.fetch(source.url, source.sha256, archive)
    except downloads.DownloadRefused as error:
        raise SourceRefused(str(error)) from error


def _build(source: Source, archive: Path, scratch: Path, target: Path) -> None:
    """Unpack, build and install; the marker comes last."""
    shutil.rmtree(target, ignore_errors=True)  # of a build that broke off, or of another archive
    tree, build = scratch / "tree", scratch / "build"
    tree.mkdir()
    _run(["tar", "--extract", "--no-same-owner", "--strip-components=1", "--file", str(archive)], tree)
    prefix = [f"--prefix={target}", "--libdir=lib", "--buildtype=release"]
    _run(["meson", "setup", *prefix, *source.options, str(build), str(tree)], scratch)
    _run(["ninja", "-C", str(build), "install"], scratch)
    if not target.is_dir():
        raise SourceRefused(
            f"{source.name} {source.version}: built, and nothing was installed in {source.prefix}"
        )
    write_whole(target / MARKER, (json.dumps(asdict(source), indent=1) + "\n").encode(), mode=0o644)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_BUILD_S
        )
    except FileNotFoundError as error:
        raise SourceRefused(f"{command[0]} is not installed, so nothing can be built") from error
    except subprocess.TimeoutExpired as error:
        raise SourceRefused(f"{' '.join(command[:2])}: not done after {_BUILD_S:g} s, stopped") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise SourceRefused(f"{' '.join(command[:2])} failed (exit code {done.returncode}):\n{said}")
