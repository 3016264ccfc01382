"""Which software has a hand in a figure: programs, libraries, packages, and the checkout that labkit runs from.

Programs and libraries are known by their hash; no path is recorded, for paths hold user names.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import labkit
from labkit.record.provenance import Checkout, Tool

LIBRARIES = {
    "dpdk": ("librte_eal.so", "libdpdk.pc"),
    "libbpf": ("libbpf.so", "libbpf.pc"),
    "libxdp": ("libxdp.so", "libxdp.pc"),
    "jansson": ("libjansson.so", "jansson.pc"),
}
"""Shared libraries that the probe runs on: the file's name, and the pkg-config file with the version."""

PACKAGES = ("MLRsearch", "hdrhistogram", "pyroute2", "scapy", "pytest", "ansible-core")
"""Python packages with a hand in the figures."""

_LIBRARY_FOLDERS = ("/usr/local/lib", "/usr/lib", "/usr/lib64")


def executables(tools: Mapping[str, Path], unreadable: dict[str, str]) -> list[Tool]:
    """The programs that take part, by name and file; what can't be read is noted in `unreadable`."""
    out = []
    for name, path in tools.items():
        try:
            digest: str | None = _sha256(path)
        except OSError as e:
            digest = None
            unreadable[f"tool {name}"] = os.strerror(e.errno) if e.errno else str(e)
        out.append(Tool(name=name, version=None, sha256=digest))
    return out


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256_of(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    """Keyed by all that changes when a file is built anew."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@cache
def libraries() -> tuple[Tool, ...]:
    """Libraries that are installed, by their pkg-config version (else the version in the file's name)."""
    folders = [Path(f) / sub for f in _LIBRARY_FOLDERS for sub in ("", f"{platform.machine()}-linux-gnu")]
    out = []
    for name, (stem, pc) in LIBRARIES.items():
        found = [p.resolve() for f in folders for p in f.glob(f"{stem}.*")]
        if not found:
            continue
        texts = [(f / "pkgconfig" / pc) for f in folders]
        text = next((t.read_text() for t in texts if t.is_file()), "")
        version = re.search(r"^Version:\s*(\S+)", text, re.MULTILINE)
        in_name = found[0].name.removeprefix(f"{stem}.")
        out.append(Tool(name=name, version=version[1] if version else in_name, sha256=_sha256(found[0])))
    return tuple(out)


def packages() -> list[Tool]:
    """The Python packages that are installed."""
    out = []
    for name in PACKAGES:
        try:
            out.append(Tool(name=name, version=metadata.version(name), sha256=None))
        except metadata.PackageNotFoundError:
            continue  # not installed: it had no hand in the figures
    return out


def source(unreadable: dict[str, str]) -> Checkout:
    """Commit and state of the checkout that this labkit runs from; nulls where it is none."""
    folder = Path(labkit.__file__).parent.parent
    if not (folder / ".git").exists():
        return Checkout(commit=None, dirty=None)
    # safe.directory: under sudo the checkout belongs to another user, which git refuses by default.
    git = ["git", "-c", f"safe.directory={folder}", "--no-optional-locks", "-C", str(folder)]
    try:
        commit, dirty = (
            subprocess.run(
                [*git, *words], capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError) as e:
        stderr = getattr(e, "stderr", None)
        unreadable["git"] = (stderr or type(e).__name__).replace(str(folder), "<checkout>").strip()
        return Checkout(commit=None, dirty=None)
    return Checkout(commit=commit, dirty=bool(dirty))
