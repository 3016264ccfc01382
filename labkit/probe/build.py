"""Builds the probe, and finds what was built.

Executables lie in a cache folder named by a hash of the sources, so a changed source is never measured with an old
binary. `python -m labkit.probe.build [--sanitize]` does the same as `labkit build`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError, ToolFailed

SOURCES = Path(__file__).parent
ENGINES = ("socket", "packet", "xdp", "dpdk", "bpf")
MANIFEST = "manifest.json"

# What an engine needs beyond a compiler: pkg-config's name (or a program) and Debian's package.
_NEEDS = {
    "xdp": (("libxdp", "libxdp-dev"), ("libbpf", "libbpf-dev"), ("clang", "clang")),
    "bpf": (("libxdp", "libxdp-dev"), ("libbpf", "libbpf-dev"), ("clang", "clang")),
    "dpdk": (("libdpdk", "libdpdk-dev"),),
}
_LIBRARIES = {"jansson": "libjansson-dev", "zlib": "zlib1g-dev"}
_TOOLS = {"meson": "meson", "ninja": "ninja-build", "pkg-config": "pkg-config", "cc": "gcc"}


def _cpu() -> str:
    """What -march=native depends on: two hosts that share a home must not share a build."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n", 1)[0]
    except OSError:
        return ""
    return "\n".join(
        line for line in first.splitlines() if line.startswith(("model name", "flags", "Features"))
    )


@cache
def source_hash() -> str:
    """Hash of all that the executables are made of: the sources, and the CPU that they are compiled for."""
    digest = hashlib.sha256(_cpu().encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in (".c", ".h", ".py", ".build", ".options") or path.name == "meson_options.txt":
            if path.parent == SOURCES and path.suffix == ".py":
                continue
            digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def build_directory(*, sanitize: bool = False) -> Path:
    """Where the executables of these sources are, or would be. LABKIT_PROBE_DIR is the folder above."""
    root = os.environ.get("LABKIT_PROBE_DIR")
    if root is None:
        root = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labkit" / "probe")
    return Path(root) / (source_hash() + ("-sanitize" if sanitize else ""))


def _has_library(name: str) -> bool:
    return subprocess.run(["pkg-config", "--exists", name], check=False).returncode == 0


def _missing(engine: str) -> str | None:
    """What an engine lacks here, as a reason with the package's name."""
    for name, package in _NEEDS.get(engine, ()):
        found = shutil.which(name) is not None if name == "clang" else _has_library(name)
        if not found:
            return f"{name} is missing (apt-get install {package})"
    return None


def _run(command: list[str], log: Path) -> None:
    with log.open("ab") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise ToolFailed(f"{command[0]} failed, exit code {done.returncode}:\n{tail}")


def _up_to_date(target: Path) -> bool:
    """Whether a whole build of these sources is there, and nothing that it went without can be had now."""
    try:
        manifest = json.loads((target / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return manifest.get("sources") == source_hash() and all(
        reason is None or _missing(engine) is not None for engine, reason in manifest["missing"].items()
    )


def build(
    *,
    sanitize: bool = False,
    directory: Path | None = None,
    look: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Build every engine whose libraries are here; returns the folder of the executables (`directory`, or the cache's).

    Nothing is done where these sources were built and no missing library has come since; else it takes 5 to 15 s.
    With `look` nothing is done at all: `progress` is told what would be.
    The folder is put in place whole, or not at all. Raises EnvironmentBroken where a build tool is missing,
    ToolFailed with the compiler's last lines where it fails.
    """
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise EnvironmentBroken(f"{tool} is not installed", hint=f"apt-get install {package}")
    for library, package in _LIBRARIES.items():
        if not _has_library(library):
            raise EnvironmentBroken(f"{library} is not installed", hint=f"apt-get install {package}")
    target = directory or build_directory(sanitize=sanitize)
    if _up_to_date(target):
        progress(f"built already: {target}")
        return target
    if look:
        progress(f"would be built: {target}")
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentBroken(
            f"the probe cannot be built in {target.parent}: {error.strerror}",
            hint="set LABKIT_PROBE_DIR to a folder that you may write to",
        ) from error
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as scratch:
        work, out = Path(scratch) / "work", Path(scratch) / "out"
        log = Path(scratch) / "log"
        options = (
            ["-Db_sanitize=address,undefined", "-Dbuildtype=debugoptimized", "-Db_lundef=false"]
            if sanitize
            else []
        )
        progress("configuring")
        _run(["meson", "setup", *options, str(work), str(SOURCES)], log)
        progress("compiling")
        _run(["ninja", "-C", str(work)], log)
        out.mkdir()
        engines: dict[str, str | None] = {}
        for engine in ENGINES:
            program = work / f"labkit-probe-{engine}"
            engines[engine] = None if program.is_file() else _missing(engine) or "it was not built"
            if program.is_file():
                shutil.copy2(program, out / program.name)
        (out / MANIFEST).write_text(json.dumps({"sources": source_hash(), "missing": engines}))
        if target.exists():  # older, or with fewer engines; who runs one of them keeps it open
            target.rename(Path(scratch) / "old")
        out.rename(target)
    for engine, reason in engines.items():
        progress(f"{engine}: {reason or 'built'}")
    return target


def _hint(engine: str, command: str) -> str:
    packages = " ".join(package for _, package in _NEEDS.get(engine, ()))
    return f"apt-get install {packages} && {command}" if packages else command


def engine_path(engine: str, *, sanitize: bool = False) -> Path:
    """The executable of an engine. Raises EnvironmentBroken where it is not built, with the way to it."""
    if engine not in ENGINES:
        raise ConfigInvalid(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    where = build_directory(sanitize=sanitize)
    command = "labkit build" + (" --sanitize" if sanitize else "")
    if not (where / MANIFEST).is_file():
        raise EnvironmentBroken("the probe is not built for these sources", hint=command)
    program = where / f"labkit-probe-{engine}"
    if not program.is_file():
        reason = json.loads((where / MANIFEST).read_text())["missing"].get(engine) or "it was not built"
        raise EnvironmentBroken(f"the probe has no {engine} engine: {reason}", hint=_hint(engine, command))
    return program


def built_executables() -> dict[str, Path]:
    """The executables that there are, by name: for the record of the environment."""
    return {path.name: path for path in sorted(build_directory().glob("labkit-probe-*"))}


def main() -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description="Build the probe for this machine.")
    parser.add_argument("--sanitize", action="store_true", help="with AddressSanitizer and UBSan")
    parser.add_argument("--look", action="store_true", help="only say whether anything would be built")
    arguments = parser.parse_args()
    try:
        built = build(
            sanitize=arguments.sanitize,
            look=arguments.look,
            progress=lambda text: print(text, file=sys.stderr),
        )
        print(built)
    except LabkitError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
