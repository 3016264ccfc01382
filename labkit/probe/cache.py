"""The cache of the probe's executables: its folder, what each build was made from, and which executable to use.

Executables lie in a folder named by a hash of all that they are made of: the sources, the CPU, the distribution and the
libraries that they are linked to. So neither a changed source nor an upgraded library is ever measured with an old
binary.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.machine import fix
from labkit.machine.ownership import caches, trusted

SOURCES = Path(__file__).parent
ENGINES = ("socket", "af_packet", "xdp", "af_xdp", "dpdk")
"""Named as the backends whose datapath they are; `socket` is the kernel's."""
MANIFEST = "manifest.json"

# What an engine needs beyond a compiler: pkg-config's name (or a program) and Debian's package.
_NEEDS = {
    "af_xdp": (("libxdp", "libxdp-dev"), ("libbpf", "libbpf-dev"), ("clang", "clang")),
    "xdp": (("libxdp", "libxdp-dev"), ("libbpf", "libbpf-dev"), ("clang", "clang")),
    "dpdk": (("libdpdk", "libdpdk-dev"),),
}
LIBRARIES = {"jansson": "libjansson-dev", "zlib": "zlib1g-dev"}
_LINKED = ("jansson", "libbpf", "libdpdk", "libxdp", "zlib")
TOOLS = {"meson": "meson", "ninja": "ninja-build", "pkg-config": "pkg-config", "cc": "gcc"}


def _cpu() -> str:
    """What -march=native depends on: hosts that share a home folder must not share a build."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n", 1)[0]
    except OSError:
        return ""
    return "\n".join(
        line for line in first.splitlines() if line.startswith(("model name", "flags", "Features"))
    )


@cache
def source_hash() -> str:
    """Hash of the sources, and of the CPU that they are compiled for."""
    digest = hashlib.sha256(_cpu().encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in (".c", ".h", ".py", ".build", ".options") or path.name == "meson_options.txt":
            if path.parent == SOURCES and path.suffix == ".py":
                continue
            digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def linked() -> dict[str, str | None]:
    """What executables that are built here are linked to, by name; None: no such library to build with."""
    found: dict[str, str | None] = {
        "architecture": platform.machine(),
        "distribution": _distribution(),
        "libc": _libc(),
    }
    return {**found, **{name: _version(name) for name in _LINKED}}


def _distribution() -> str:
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        with suppress(OSError):
            words = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            named = [words.get(key, "").strip("\"'") for key in ("ID", "VERSION_ID")]
            return " ".join(filter(None, named))
    return "unknown"


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except ValueError:
        return " ".join(filter(None, platform.libc_ver())) or "not glibc"


def _version(library: str) -> str | None:
    try:
        done = subprocess.run(
            ["pkg-config", "--modversion", library], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _name(*, sanitize: bool) -> str:
    links = hashlib.sha256(json.dumps(linked(), sort_keys=True).encode()).hexdigest()[:8]
    return f"{source_hash()}-{links}" + ("-sanitize" if sanitize else "")


def cache_folders() -> tuple[Path, ...]:
    """The folders that builds are looked for in; the first that can be written to is built in.

    LABKIT_PROBE_DIR, else the user's cache (see `caches`).
    """
    if chosen := os.environ.get("LABKIT_PROBE_DIR"):
        return (Path(chosen),)
    return tuple(folder / "probe" for folder in caches())


def _can_be_made(folder: Path) -> bool:
    with suppress(OSError):
        place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return False


def build_directory(*, sanitize: bool = False) -> Path:
    """Where the executables of these sources for this machine are built."""
    folders = cache_folders()
    return next((folder for folder in folders if _can_be_made(folder)), folders[0]) / _name(sanitize=sanitize)


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a build; None if there is none, or it is incomplete."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(manifest, dict) and isinstance(manifest.get("missing"), dict)
    return manifest if whole and manifest.get("sources") == source_hash() else None


def _built(*, sanitize: bool) -> tuple[Path, dict[str, Any]] | None:
    """The build to use: this machine's, or one that differs in libraries only that nothing can be built with here.

    Such as where the packages for building were removed since, or the executables came from another machine of the
    kind.
    """
    for root in cache_folders():
        exact = root / _name(sanitize=sanitize)
        if manifest := manifest_of(exact):
            return exact, manifest
    here = linked()
    for folder in _others(sanitize=sanitize):
        there = manifest_of(folder)
        if there and all(here[key] in (None, there.get("linked", {}).get(key)) for key in here):
            return folder, there
    return None


def _others(*, sanitize: bool) -> Iterator[Path]:
    """Builds of these sources for whatever machine, the newest first."""
    found: list[tuple[float, Path]] = []
    for root in cache_folders():
        with suppress(OSError):
            found += [
                (folder.stat().st_mtime, folder)
                for folder in root.glob(f"{source_hash()}-*")
                if folder.name.endswith("-sanitize") is sanitize
            ]
    return (folder for _, folder in sorted(found, reverse=True))


def _why_none(*, sanitize: bool) -> str:
    """Why no build can be used: there is none, or it was made for another machine or other libraries."""
    here = linked()
    for folder in _others(sanitize=sanitize):
        there = (manifest_of(folder) or {}).get("linked", {})
        if other := [key for key in here if key in there and here[key] not in (None, there[key])]:
            differences = ", ".join(f"{key} {there[key] or 'absent'} (here: {here[key]})" for key in other)
            return f"the probe is not built for this machine: the existing build used {differences}"
    return "the probe is not built for these sources"


def has_library(name: str) -> bool:
    """Whether it can be built with."""
    return linked()[name] is not None


def missing(engine: str) -> str | None:
    """What an engine lacks here, as a reason with the package's name."""
    for name, package in _NEEDS.get(engine, ()):
        found = shutil.which(name) is not None if name == "clang" else has_library(name)
        if not found:
            return f"{name} is missing (package {package})"
    return None


def checksum(program: Path) -> str:
    """The checksum of an executable in the manifest, by which a damaged one is noticed."""
    return hashlib.sha256(program.read_bytes()).hexdigest()


def fault(program: Path, expected: str | None) -> str | None:
    """What is wrong with an executable as it lies there; None: it is what was built."""
    try:
        if not program.is_file():
            return f"{program} is missing"
        if not os.access(program, os.X_OK):
            return f"{program} is not executable"
        # Who may run an executable need not be allowed to read it (the role labkit_host).
        if expected and os.access(program, os.R_OK) and checksum(program) != expected:
            return f"{program} is not what was built (truncated, or changed since)"
    except OSError as error:
        return f"{program}: {error.strerror}"
    return None


def _command(*, sanitize: bool) -> str:
    return fix.labkit("build", *(["--sanitize"] if sanitize else []), root=False)


def _hint(engine: str, command: str) -> str:
    names = [package for _, package in _NEEDS.get(engine, ())]
    return f"{fix.packages(*names)} && {command}" if names else command


def engine_path(engine: str, *, sanitize: bool = False) -> Path:
    """The executable of an engine. Raises EnvironmentBroken with the fix if it is not built, or damaged."""
    if engine not in ENGINES:
        raise ConfigInvalid(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    command = _command(sanitize=sanitize)
    built = _built(sanitize=sanitize)
    if built is None:
        raise EnvironmentBroken(_why_none(sanitize=sanitize), hint=command)
    where, manifest = built
    program = where / f"labkit-probe-{engine}"
    reason = manifest["missing"].get(engine)
    if reason is not None:
        raise EnvironmentBroken(f"the probe has no {engine} engine: {reason}", hint=_hint(engine, command))
    if wrong := fault(program, manifest.get("executables", {}).get(engine)):
        raise EnvironmentBroken(f"the probe's {engine} engine is broken: {wrong}", hint=command)
    if not os.environ.get("LABKIT_PROBE_DIR") and not trusted(program):
        raise EnvironmentBroken(
            f"{program} is owned by another user, or writable by everybody: root does not run it",
            hint=f"rm -r {where} && {command}",
        )
    return program


def built_executables() -> dict[str, Path]:
    """The executables that there are, by name: for the record of the environment."""
    built = _built(sanitize=False)
    return {path.name: path for path in sorted(built[0].glob("labkit-probe-*"))} if built else {}
