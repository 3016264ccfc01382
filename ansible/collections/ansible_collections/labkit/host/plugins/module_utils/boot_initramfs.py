"""How initramfs-tools builds initrds: a file of our own, and the initrds built under it are built again without it."""

from __future__ import annotations

from pathlib import Path

from . import files
from .boot_commands import CommandFailed, Run, run
from .state import Change, State

KIND = "initrds"
CONFIGURATION = "/etc/initramfs-tools/conf.d/labkit"
"""Read after initramfs.conf, in the order of names (initramfs.conf(5))."""
MODULES = ("dep", "most")
COMPRESS = ("lz4", "zstd")


class NoInitramfsTools(Exception):
    """Initrds are built otherwise here."""


def change(role: str, *, modules: str, compress: str, root: Path = Path("/"), check: bool = False) -> bool:
    """Have the next initrds built so. Empty words leave what is there. Returns whether that changes anything."""
    if not (root / "etc/initramfs-tools").is_dir():
        raise NoInitramfsTools(
            "There is no /etc/initramfs-tools here, so lowlatency_kernel_initramfs_modules and _compress have nothing "
            "to set: leave them empty"
        )
    lines = [f"MODULES={modules}\n"] if modules else []
    lines += [f"COMPRESS={compress}\n"] if compress else []
    text = "# Written by labkit before it installed a kernel. Taken back by ansible/revert.yml.\n" + "".join(
        lines
    )
    if not check:
        State(role, root).note(KIND, "/boot", _built(root), None)
    return files.change(role, CONFIGURATION, text, root=root, check=check)


def _built(root: Path) -> dict[str, int]:
    """When each initrd was built [ns]."""
    return {
        path.name.partition("-")[2]: path.stat().st_mtime_ns for path in (root / "boot").glob("initrd.img-*")
    }


def restore(change: Change, root: Path, run: Run = run) -> str | None:
    """Build those again that were built while our file was there; None when done, else why not."""
    now = _built(root)
    for release, when in sorted(change.old.items()):
        if release in now and now[release] != when:
            try:
                run(["update-initramfs", "-u", "-k", release])
            except CommandFailed as error:
                return str(error)
    return None
