"""Reverts what a role changed, newest first. An interrupted revert continues where it was."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from . import (
    accounts,
    boot_initramfs,
    boot_trial,
    boot_undo,
    drivers,
    ethtool,
    files,
    grub_environment,
    hugepools,
    irqbalance,
    irqs,
    mounts,
    onload_remove,
    packages,
    services,
    settings,
    symlinks,
    trees,
    ubuntu_pro,
)
from .state import Change, State

KINDS: dict[str, Callable[[Change, Path], str | None]] = {
    settings.KIND: settings.restore,
    boot_initramfs.KIND: boot_initramfs.restore,
    boot_trial.KIND: boot_trial.restore,
    boot_undo.KIND: boot_undo.restore,
    ethtool.KIND: ethtool.restore,
    drivers.KIND: drivers.restore,
    files.KIND: files.restore,
    files.FOLDER: files.restore_folder,
    grub_environment.SAVED: grub_environment.restore_saved,
    hugepools.KIND: hugepools.restore,
    irqbalance.KIND: irqbalance.restore,
    irqs.KIND: irqs.restore,
    mounts.KIND: mounts.restore,
    onload_remove.KIND: onload_remove.restore,
    onload_remove.MODULES: onload_remove.restore_modules,
    packages.KIND: packages.restore,
    trees.KIND: trees.restore,
    services.KIND: services.restore,
    symlinks.KIND: symlinks.restore,
    ubuntu_pro.KIND: ubuntu_pro.restore,
    accounts.GROUP: accounts.restore,
    accounts.USER: accounts.restore,
    accounts.MEMBER: accounts.restore,
}
"""Kind of change to what undoes it: None when done, else the reason why it could not."""
FORESEEN: dict[str, Callable[[Change, Path], str | None]] = {
    settings.KIND: settings.refusal,
    files.KIND: files.refusal,
    packages.KIND: packages.refusal,
    symlinks.KIND: symlinks.refusal,
}
"""Kind of change to what finds that reason in check mode. Whether the others can be reverted shows when it is done."""


def undo(
    role: str,
    root: Path = Path("/"),
    *,
    keep: Collection[str] = (),
    only: Collection[str] | None = None,
    wanted: Collection[str] = (),
    check: bool = False,
) -> tuple[list[str], list[str]]:
    """Undo all of one role. Returns what was reverted, and what was left with the reason.

    Changes of the kinds in `keep` stay, and stay written down. So do those of other kinds than in `only`, if it is
    given, and targets that are `wanted` still. Raises ValueError for a kind that there is not.
    """
    for name, kinds in (("keep", keep), ("only", only or ())):
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise ValueError(f"{name}: {', '.join(unknown)}: expected some of {', '.join(sorted(KINDS))}")
    state = State(role, root)
    done: list[str] = []
    left: list[str] = []
    for change in reversed(state.changes()):
        name = f"{change.kind} {change.target}"
        if change.kind in keep or (only is not None and change.kind not in only) or change.target in wanted:
            continue
        if change.kind not in KINDS:
            left.append(f"{name}: a kind of change that this labkit does not know; use the one that made it")
            continue
        reason = _reason(change, root, FORESEEN if check else KINDS)
        if reason is None:
            done.append(name)
            if not check:
                state.forget(change)
        else:
            left.append(f"{name}: {reason}")
    if not check and not state.changes():
        state.clear()
    return done, left


def _reason(change: Change, root: Path, ways: dict[str, Callable[[Change, Path], str | None]]) -> str | None:
    try:
        return ways[change.kind](change, root) if change.kind in ways else None
    except Exception as error:  # whatever it is, the others are reverted
        return str(error) or type(error).__name__
