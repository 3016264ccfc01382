"""Builds and installs Onload by its own scripts."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from . import accounts, files, onload_plan, onload_register, onload_unit
from .onload_plan import Found, Stamp, Wanted
from .onload_remove import (
    KIND,
    MANIFEST,
    PLACE,
    PROGRAM_S,
    OnloadFailed,
    kept_manifest,
    run,
    uninstall,
    unload,
)
from .state import Change, State, write_whole

STAMP = f"{PLACE}/labkit-installed.json"
BUILDING = ".labkit-building"
"""In the tree while it is built: what a killed build left is not taken for a whole one."""
_HELPER = "src/tools/bpf_link_helper/bpf-link-helper"
"""In the tree."""
USERS, GROUPS = ("onload_cplane", "onload_shrub"), ("onload_users",)
"""Accounts that onload_install adds, and onload_uninstall leaves."""
_FOLDERS = (
    *("/etc/sysconfig", "/etc/depmod.d", "/etc/sysusers.d", "/etc/modprobe.d"),
    *("/usr/local/lib/modules-load.d", "/usr/lib/sysusers.d", "/usr/libexec"),
    *("/usr/include/onload", "/usr/include/etherfabric", "/usr/share/initramfs-tools/modules.d"),
)
"""Folders that it makes where they are not there, and onload_uninstall leaves; besides those of the modules."""
_BUILD_S = 7200.0


def look(wanted: Wanted, tree: Path, root: Path = Path("/")) -> Found:
    """What the host has; `tree` is where the archive was unpacked."""
    modules = {}
    for folder in (root / "lib/modules").glob("*"):
        if (srcversion := module_word(folder / "extra/onload.ko", "srcversion")) is not None:
            modules[folder.name] = srcversion
    stamp = root / STAMP.lstrip("/")
    whole = not (tree / BUILDING).exists()
    return Found(
        manifest=(root / MANIFEST.lstrip("/")).exists() or kept_manifest(root) is not None,
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
        run(["make", "-C", str(made.parent)], PROGRAM_S)
    target = root / onload_unit.HELPER.lstrip("/")
    shutil.copy(made, target)
    target.chmod(0o755)


def _script(tree: Path, name: str, *words: str, timeout_s: float = PROGRAM_S) -> None:
    run([str(tree / "scripts" / name), *words], timeout_s)
