"""Unloads Onload's modules, and uninstalls Onload by its own script; also after one that was killed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from . import onload_register
from .programs import environment
from .state import Change, write_whole

KIND = "onload"
"""An installation; its target is the folder of the manifest."""
MODULES = "onload_modules"
"""Modules that were loaded."""
PLACE = "/usr/libexec/onload"
MANIFEST = f"{PLACE}/uninstall_manifest"
KEPT = "/var/lib/labkit/openonload-manifest"
"""A copy of the manifest while Onload is uninstalled: its script removes the manifest first."""
STACKS = "proc/driver/onload/stacks"
IDLE_S = 75.0
"""A TCP stack outlives its process by some 50 s."""
PROGRAM_S = 900.0
_BELOW = ("/usr/", "/etc/", "/lib/modules/", "/boot/", "/sbin/", "/dev/onload")
"""Where a manifest's files are."""


class OnloadFailed(Exception):
    """A step did not come to its end; says why."""


def kept_manifest(root: Path = Path("/")) -> list[str] | None:
    """Files of an installation whose removal was broken off; None: none was."""
    try:
        return (root / KEPT.lstrip("/")).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None


def uninstall(root: Path = Path("/")) -> None:
    """By Onload's own script; nothing where it is not installed. Raises OnloadFailed."""
    manifest, kept = root / MANIFEST.lstrip("/"), root / KEPT.lstrip("/")
    if manifest.exists():
        write_whole(kept, manifest.read_bytes(), mode=0o600)
        run(["onload_uninstall"], PROGRAM_S)
        if manifest.exists():
            raise OnloadFailed(f"onload_uninstall ended well, and {MANIFEST} is still there")
    elif kept.exists():
        _finish(kept_manifest(root) or [], root)
    _remove_empty(kept_manifest(root) or [], root)
    kept.unlink(missing_ok=True)


def _remove_empty(left: Sequence[str], root: Path) -> None:
    """Folders of Onload's alone that its script leaves empty, such as that of its Python package's metadata."""
    for parent in {
        parent for name in left for parent in Path(name).parents if "onload" in parent.name.lower()
    }:
        with contextlib.suppress(OSError):  # it has something in it, or is gone
            (root / str(parent).lstrip("/")).rmdir()


def _finish(left: Sequence[str], root: Path) -> None:
    """What the script does after it has removed its manifest, where it was killed then."""
    kernels = set()
    for name in reversed(left):
        if not name.startswith(_BELOW) or ".." in Path(name).parts:
            continue
        if name.startswith("/lib/modules/"):
            kernels.add(Path(name).parts[3])
        path = root / name.lstrip("/")
        if path.is_dir() and not path.is_symlink():
            if "onload" in name:
                shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for kernel in sorted(kernels):
        run(["depmod", kernel], PROGRAM_S)


def stacks(root: Path = Path("/")) -> list[str]:
    """Those that are alive. The file has no size: it must be read."""
    try:
        return (root / STACKS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def unload(root: Path = Path("/"), *, idle_s: float = IDLE_S) -> None:
    """Unload the modules once nobody uses them. Raises OnloadFailed where somebody does, or they stay."""
    if onload_register.module_id(root) is None:
        return
    deadline = time.monotonic() + idle_s
    while alive := stacks(root):
        if time.monotonic() > deadline:
            raise OnloadFailed(
                f"Onload is in use: {len(alive)} stacks are alive after {idle_s:.0f} s ({'; '.join(alive)[:300]}). End "
                "the programs that were started with onload (onload_stackdump names them), and run this again"
            )
        time.sleep(0.5)
    run(["onload_tool", "unload", "--onload-only"], PROGRAM_S)
    if onload_register.module_id(root) is not None:
        raise OnloadFailed("onload_tool unload ended well, and the module sfc_resource is still loaded")
    onload_register.forget_earlier(root)


def restore(change: Change, root: Path) -> str | None:
    """Uninstall it; None when done, else why not."""
    try:
        unload(root)
        uninstall(root)
    except OnloadFailed as error:
        return str(error)
    return None


def restore_modules(change: Change, root: Path) -> str | None:
    """Unload them; None when done, else why not."""
    try:
        unload(root)
    except OnloadFailed as error:
        return str(error)
    with contextlib.suppress(OSError):  # a reboot removes it
        onload_register.forget_earlier(root)
        (root / onload_register.NOTES).rmdir()
    return None


def run(command: Sequence[str], timeout_s: float) -> None:
    """Run a program of Onload's. Raises OnloadFailed with its last lines."""
    line = " ".join(command)
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            env={**environment(), "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise OnloadFailed(f"{line}: {command[0]} is not there") from error
    except PermissionError as error:
        raise OnloadFailed(f"{line}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise OnloadFailed(f"{line} did not end within {timeout_s:.0f} s") from error
    if done.returncode:
        lines = [one for one in done.stdout.splitlines() if one.strip()]
        shown = "\n".join(lines[-15:])[-2000:]
        raise OnloadFailed(f"{line}: exit code {done.returncode}. Its last lines:\n{shown}")
