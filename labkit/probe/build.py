"""Builds the probe, and finds what was built.

`python -m labkit.probe.build [--sanitize]` does the same as `labkit build`. Where a build lies: labkit.probe.cache.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labkit.errors import EnvironmentBroken, LabkitError, ToolFailed
from labkit.machine import fix
from labkit.machine.ownership import hand_over, make_folders
from labkit.probe.cache import (
    ENGINES,
    LIBRARIES,
    MANIFEST,
    SOURCES,
    TOOLS,
    build_directory,
    built_executables,
    cache_folders,
    checksum,
    engine_path,
    fault,
    has_library,
    linked,
    manifest_of,
    missing,
    source_hash,
)

__all__ = [
    "SOURCES",
    "build",
    "build_directory",
    "built_executables",
    "clear_abandoned",
    "engine_path",
    "source_hash",
]

_SCRATCH = ".build-"
_TRY_TIMEOUT_S = 10.0


def _run(command: list[str], log: Path) -> None:
    # They end with this process, however it ends: the folder that they work in is removed then.
    with log.open("ab") as output:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        if not tail or os.strerror(errno.ENOSPC) in tail:  # a full disk has no room for the log either
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise ToolFailed(f"{command[0]} failed, exit code {done.returncode}:\n{tail}")


def _does_not_start(program: Path) -> str | None:
    """Why an executable doesn't start here; None: it does. At the end of its input it ends at once."""
    try:
        done = subprocess.run(
            [str(program)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRY_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it does not end when its input does"
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"exit code {done.returncode}, no output on stderr"


def _up_to_date(target: Path) -> str | None:
    """Why there is something to build; None: a whole build is there, it starts, and nothing has come since."""
    manifest = manifest_of(target)
    if manifest is None:
        return "there is no build"
    for engine in ENGINES:
        reason = manifest["missing"].get(engine, "it was not built")
        if reason is not None:
            if missing(engine) is None:
                return f"{engine}: {reason}, but can be built now"
            continue
        program = target / f"labkit-probe-{engine}"
        wrong = fault(program, manifest.get("executables", {}).get(engine)) or _does_not_start(program)
        if wrong:
            return f"{engine}: {wrong}"
    return None


@contextmanager
def _alone(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """One build at a time in a cache folder; False: another build is running, or that is unknown (a lock on NFS)."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def _abandoned(root: Path) -> list[Path]:
    """Work folders of builds that were killed; only for who holds the lock."""
    gone = []
    for folder in sorted(root.glob(f"{_SCRATCH}*")):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone


def clear_abandoned() -> list[Path]:
    """Remove what killed builds left in the cache; these are the folders. One that is being built is left alone."""
    gone: list[Path] = []
    for root in cache_folders():
        with suppress(OSError):
            if any(root.glob(f"{_SCRATCH}*")):
                with _alone(root, wait=False) as held:
                    gone += _abandoned(root) if held else []
    return gone


def build(
    *,
    sanitize: bool = False,
    directory: Path | None = None,
    look: bool = False,
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Build every engine whose libraries are here; returns the folder of the executables (`directory`, or the cache's).

    Nothing is done where these sources were built for this machine, the executables are whole and start, and no missing
    library has come since; else, and with `force`, it takes 5 to 15 s.
    With `look` nothing is built: `progress` reports what would be.
    The folder is put in place whole, or not at all. Raises EnvironmentBroken where a build tool is missing,
    ToolFailed with the compiler's last lines where it fails.
    """
    linked.cache_clear()  # what was installed since this process began counts
    lacking = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if not lacking or "pkg-config" not in lacking:
        lacking += [package for library, package in LIBRARIES.items() if not has_library(library)]
    if lacking:
        names = {package: name for name, package in (*TOOLS.items(), *LIBRARIES.items())}
        raise EnvironmentBroken(
            f"{', '.join(names[package] for package in lacking)} "
            f"{'is' if len(lacking) == 1 else 'are'} not installed",
            hint=fix.packages(*lacking),
        )
    target = directory or build_directory(sanitize=sanitize)
    why = "a rebuild was requested" if force else _up_to_date(target)
    if why is None:
        progress(f"built already: {target}")
        return target
    if look:
        progress(f"would be built: {target}")
        return target
    try:
        make_folders(target.parent)
        with _alone(target.parent) as held:
            if held:
                _abandoned(target.parent)
            if not force and _up_to_date(target) is None:  # another build was at work meanwhile
                progress(f"built already: {target}")
                return target
            if manifest_of(target) is not None:
                progress(f"built again: {why}")
            engines = _build_into(target, sanitize=sanitize, progress=progress)
    except OSError as error:
        raise EnvironmentBroken(
            f"the probe cannot be built in {target.parent}: {error.strerror}",
            hint=(
                f"make room (df -h {target.parent}), or set LABKIT_PROBE_DIR to a folder on another disk"
                if error.errno in (errno.ENOSPC, errno.EDQUOT)
                else "set LABKIT_PROBE_DIR to a folder that you may write to"
            ),
        ) from error
    for engine, reason in engines.items():
        progress(f"{engine}: {reason or 'built'}")
    return target


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build_into(target: Path, *, sanitize: bool, progress: Callable[[str], None]) -> dict[str, str | None]:
    """Build, and put it in place; why each engine is missing, or None."""
    with _scratch(target.parent) as scratch:
        work, out, log = scratch / "work", scratch / "out", scratch / "log"
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
        sums: dict[str, str] = {}
        for engine in ENGINES:
            program = work / f"labkit-probe-{engine}"
            if not program.is_file():
                engines[engine] = missing(engine) or "it was not built"
                continue
            shutil.copy2(program, out / program.name)
            wrong = _does_not_start(out / program.name)
            engines[engine] = f"it was built and does not start: {wrong}" if wrong else None
            sums[engine] = checksum(out / program.name)
        manifest = {
            "sources": source_hash(),
            "linked": linked(),
            "missing": engines,
            "executables": sums,
        }
        (out / MANIFEST).write_text(json.dumps(manifest))
        hand_over(out)
        if target.exists():  # broken, older, or with fewer engines; who runs one of them keeps it open
            target.rename(scratch / "old")
        out.rename(target)
    return engines


def main() -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description="Build the probe for this machine.")
    parser.add_argument("--sanitize", action="store_true", help="with AddressSanitizer and UBSan")
    parser.add_argument("--force", action="store_true", help="build although nothing has changed")
    parser.add_argument("--look", action="store_true", help="only report what would be built")
    arguments = parser.parse_args()
    try:
        built = build(
            sanitize=arguments.sanitize,
            look=arguments.look,
            force=arguments.force,
            progress=lambda text: print(text, file=sys.stderr),
        )
        print(built)
    except LabkitError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
