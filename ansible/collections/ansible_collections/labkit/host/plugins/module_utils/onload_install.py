"""Builds Onload, installs and uninstalls it by its own scripts, and unloads its modules."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import accounts, files, onload_plan, onload_register, onload_unit
from .onload_plan import Found, Stamp, Wanted
from .programs import environment
from .state import Change, State, write_whole

KIND = "onload"
"""An installation; its target is the folder of the manifest."""
MODULES = "onload_modules"
"""Modules that were loaded."""
PLACE = "/usr/libexec/onload"
MANIFEST = f"{PLACE}/uninstall_manifest"
STAMP = f"{PLACE}/labkit-installed.json"
BUILDING = ".labkit-building"
"""In the tree while it is built: what a killed build left is not taken for a whole one."""
_HELPER = "src/tools/bpf_link_helper/bpf-link-helper"
"""In the tree."""
STACKS = "proc/driver/onload/stacks"
USERS, GROUPS = ("onload_cplane", "onload_shrub"), ("onload_users",)
"""Accounts that onload_install adds, and onload_uninstall leaves."""
_FOLDERS = (
    *("/etc/sysconfig", "/etc/depmod.d", "/etc/sysusers.d", "/etc/modprobe.d"),
    *("/usr/local/lib/modules-load.d", "/usr/lib/sysusers.d", "/usr/libexec"),
    *("/usr/include/onload", "/usr/include/etherfabric", "/usr/share/initramfs-tools/modules.d"),
)
"""Folders that it makes where they are not there, and onload_uninstall leaves; besides those of the modules."""
IDLE_S = 75.0
"""A TCP stack outlives its process by some 50 s."""
_BUILD_S, _PROGRAM_S = 7200.0, 900.0


class OnloadFailed(Exception):
    """A step did not come to its end; says why."""


def look(wanted: Wanted, tree: Path, root: Path = Path("/")) -> Found:
    """What the host has; `tree` is where the archive was unpacked."""
    modules = {}
    for folder in (root / "lib/modules").glob("*"):
        if (srcversion := module_word(folder / "extra/onload.ko", "srcversion")) is not None:
            modules[folder.name] = srcversion
    stamp = root / STAMP.lstrip("/")
    whole = not (tree / BUILDING).exists()
    return Found(
        manifest=(root / MANIFEST.lstrip("/")).exists()
        or _program_path("onload_uninstall", root) is not None,
        stamp=onload_plan.stamp_of(stamp.read_text(encoding="utf-8")) if stamp.exists() else None,
        modules=modules,
        loaded=onload_register.module_id(root) is not None,
        built_programs=whole and any(tree.glob("build/gnu_*/lib/transport/unix/libcitransport0.so")),
        built_modules=whole and _has_modules(wanted, tree),
        helper=os.access(root / onload_unit.HELPER.lstrip("/"), os.X_OK),
        built_helper=whole and os.access(tree / _HELPER, os.X_OK),
    )


def _has_modules(wanted: Wanted, tree: Path) -> bool:
    for folder in tree.glob(f"build/*_linux-{wanted.kernel}/driver/linux"):
        made = (folder / "onload.ko", folder / "sfc_resource.ko", folder / "sfc_char.ko")
        words = ((module_word(one, "vermagic") or "").split() for one in made)
        if all(word[:1] == [wanted.kernel] for word in words):
            return (folder / "sfc.ko").exists() == wanted.sfc
    return False


def module_word(module: Path, name: str) -> str | None:
    """What a module says of itself (modinfo -F); None: there is none, or it does not say."""
    try:
        content = module.read_bytes()
    except OSError:
        return None
    found = re.search(rb"(?:^|\0)" + name.encode() + rb"=([^\0]*)\0", content)
    return found.group(1).decode(errors="replace") if found else None


def _program_path(name: str, root: Path) -> str | None:
    folders = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
    return next((f"/{one}/{name}" for one in folders if (root / one / name).exists()), None)


def foreign(role: str, root: Path = Path("/")) -> str | None:
    """Why an Onload that is there is not to be touched; None: there is none, or it is of this role."""
    if State(role, root).noted(KIND, PLACE) is not None:
        return None
    if (root / MANIFEST.lstrip("/")).exists() or _program_path("onload_uninstall", root):
        return (
            "Onload is installed here already, and not by labkit: it is left alone. Remove it (onload_uninstall, or "
            "the package that brought it), or take openonload_version out"
        )
    if onload_register.module_id(root) is not None:
        return (
            "modules of Onload are loaded here, and labkit has not installed them: they are left alone. Unload them "
            "(onload_tool unload), or take openonload_version out"
        )
    return None


def perform(
    role: str,
    wanted: Wanted,
    todo: Sequence[str],
    tree: Path,
    *,
    allow_unsupported_cpu: bool = False,
    root: Path = Path("/"),
) -> None:
    """Do the steps of onload_plan.steps. Raises OnloadFailed; what a failed installation left is removed then."""
    more = () if wanted.sfc else ("--no-sfc",)
    anyway = ("--allow-unsupported-cpu",) if allow_unsupported_cpu else ()
    done: dict[str, Callable[[], None]] = {
        onload_plan.BUILD: lambda: _build(tree, (*more, "--kernelver", wanted.kernel)),
        onload_plan.UNLOAD: lambda: unload(root),
        onload_plan.UNINSTALL: lambda: uninstall(root),
        onload_plan.INSTALL: lambda: _install(role, wanted, tree, (*more, *anyway), root),
        onload_plan.REBUILD: lambda: _rebuild(role, wanted, tree, (*more, *anyway), root),
        onload_plan.HELPER: lambda: _install_helper(tree, root),
    }
    for step in todo:
        done[step]()


def _build(tree: Path, words: Sequence[str]) -> None:
    (tree / BUILDING).touch()
    _script(tree, "onload_build", *words, timeout_s=_BUILD_S)
    (tree / BUILDING).unlink()


def _install(role: str, wanted: Wanted, tree: Path, words: Sequence[str], root: Path) -> None:
    _note(role, wanted, root)
    try:
        _script(tree, "onload_install", "--nobuild", "--kernelver", wanted.kernel, *words)
        _write_stamp(wanted, {}, root)
    except OnloadFailed as error:
        if (root / MANIFEST.lstrip("/")).exists():
            uninstall(root)
        raise OnloadFailed(f"{error}\nNo Onload is installed now") from error


def _note(role: str, wanted: Wanted, root: Path) -> None:
    """What comes with an installation beside what its manifest has."""
    state = State(role, root)
    for folder in (*_FOLDERS, f"/lib/modules/{wanted.kernel}/extra"):
        if not (root / folder.lstrip("/")).exists():
            state.inherit(Change(files.FOLDER, folder, None))  # to be removed after the files in it
    for kind, names in ((accounts.GROUP, GROUPS), (accounts.USER, USERS)):
        for name in names:
            if not accounts.there(kind, name, root):
                state.note(kind, name, None, None)
    state.note(KIND, PLACE, None, {"version": wanted.version, "sha256": wanted.sha256})


def _rebuild(role: str, wanted: Wanted, tree: Path, words: Sequence[str], root: Path) -> None:
    """Modules for another kernel. The programs, and those of other kernels, stay as they are."""
    stamp = look(wanted, tree, root).stamp
    built = _has_modules(wanted, tree)
    _note(role, wanted, root)
    if not built:
        (
            tree / BUILDING
        ).touch()  # the tree loses its programs, and is to be built whole for the next installation
    _script(
        tree,
        "onload_install",
        *(["--nobuild"] if built else []),
        *("--newkernel", wanted.kernel, *words),
        timeout_s=_BUILD_S,
    )
    _write_stamp(wanted, dict(stamp.kernels) if stamp else {}, root)


def _write_stamp(wanted: Wanted, kernels: dict[str, str], root: Path) -> None:
    module = root / f"lib/modules/{wanted.kernel}/extra/onload.ko"
    srcversion = module_word(module, "srcversion")
    if not (root / MANIFEST.lstrip("/")).exists() or srcversion is None:
        raise OnloadFailed(f"onload_install ended well, and {MANIFEST} or {module} is not there")
    stamp = Stamp(wanted.version, wanted.sha256, wanted.sfc, {**kernels, wanted.kernel: srcversion})
    write_whole(root / STAMP.lstrip("/"), stamp.text().encode(), mode=0o644)


def _install_helper(tree: Path, root: Path) -> None:
    """Onload neither builds nor installs it."""
    made = tree / _HELPER
    if not made.exists():
        _run(["make", "-C", str(made.parent)], _PROGRAM_S)
    target = root / onload_unit.HELPER.lstrip("/")
    shutil.copy(made, target)
    target.chmod(0o755)


def uninstall(root: Path = Path("/")) -> None:
    """By Onload's own script; nothing where it is not installed. Raises OnloadFailed."""
    if not (root / MANIFEST.lstrip("/")).exists():
        return
    _run(["onload_uninstall"], _PROGRAM_S)
    if (root / MANIFEST.lstrip("/")).exists():
        raise OnloadFailed(f"onload_uninstall ended well, and {MANIFEST} is still there")


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
    _run(["onload_tool", "unload", "--onload-only"], _PROGRAM_S)
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


def _script(tree: Path, name: str, *words: str, timeout_s: float = _PROGRAM_S) -> None:
    _run([str(tree / "scripts" / name), *words], timeout_s)


def _run(command: Sequence[str], timeout_s: float) -> None:
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
