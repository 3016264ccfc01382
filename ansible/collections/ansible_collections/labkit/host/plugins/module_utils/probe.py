"""labkit's packet programs built on a host, and who may run them without root."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .programs import environment
from .trees import unpacked_of

PROGRAM = "labkit-probe-"


class ProbeFailed(Exception):
    """It can't be built, or not be given what it needs; the message has the compiler's or setcap's last words."""


def change(
    source: str,
    sha256: str,
    folder: str,
    *,
    group: str = "",
    capabilities: Mapping[str, str] | None = None,
    check: bool = False,
) -> tuple[bool, list[str]]:
    """Build what can be built of the sources, and let the group run each engine with its capabilities.

    An engine is built where its library is. Without a group only root has what an engine needs. Returns whether that
    changes anything, and the engines (none where it is not built yet, in check mode). Raises ProbeFailed.
    """
    if check and unpacked_of(Path(source)) != sha256:
        return True, []  # the sources are still to come
    command = [sys.executable, "-B", "-m", "labkit.probe.build", *(["--look"] if check else [])]
    done = subprocess.run(
        command,
        cwd=source,
        # ccache would leave a folder in root's home.
        env={**os.environ, "LABKIT_PROBE_DIR": folder, "CCACHE_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        return True, []  # what it lacks is among the packages that a run installs first
    if done.returncode:
        raise ProbeFailed(f"the probe was not built: {done.stderr.strip()[-3000:]}")
    changed = "built already" not in done.stderr
    if check and changed:
        return True, []
    current = Path(done.stdout.splitlines()[-1])
    changed |= _remove_former(current, check)
    built = sorted(current.glob(f"{PROGRAM}*"))
    for program in built:
        wanted = (capabilities or {}).get(program.name[len(PROGRAM) :], "")
        changed |= _let(program, group if wanted else "", wanted if group else "", check)
    return changed, [program.name[len(PROGRAM) :] for program in built]


def _remove_former(current: Path, check: bool) -> bool:
    """Remove builds of former sources: nothing uses them, and they would keep their capabilities."""
    former = [
        folder
        for folder in current.parent.iterdir()
        if folder != current
        and folder.is_dir()
        and not folder.is_symlink()
        and any(folder.glob(f"{PROGRAM}*"))
    ]
    if not check:
        for folder in former:
            shutil.rmtree(folder)
    return bool(former)


def _let(program: Path, group: str, capabilities: str, check: bool) -> bool:
    """Let the group and nobody else run it with these capabilities; without a group everybody, with none."""
    try:
        gid = grp.getgrnam(group).gr_gid if group else 0
    except KeyError as error:
        if check:
            return True  # a run makes it first
        raise ProbeFailed(f"there is no group {group}") from error
    mode = 0o750 if group else 0o755
    now = program.stat()
    right = (now.st_uid, now.st_gid, now.st_mode & 0o7777) == (0, gid, mode)
    if right and _has(program, capabilities):
        return False
    if check:
        return True
    os.chown(program, 0, gid)  # takes what capabilities it had
    program.chmod(mode)
    if capabilities:
        given = _setcap(f"{capabilities}=ep", str(program))
        if given.returncode:
            raise ProbeFailed(f"{program}: {given.stderr.strip() or given.stdout.strip()}")
    if not _has(program, capabilities):
        raise ProbeFailed(f"{program}: expected {capabilities or 'no capability'}, and setcap finds another")
    return True


def _has(program: Path, capabilities: str) -> bool:
    if capabilities:
        return _setcap("-v", f"{capabilities}=ep", str(program)).returncode == 0
    return "security.capability" not in os.listxattr(program)


def _setcap(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["setcap", "-q", *arguments], capture_output=True, text=True, check=False, env=environment()
    )
