"""Packages that were added: written down with all that comes along before they are installed, and removed exactly."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .apt import Apt
from .dnf import Dnf
from .package_manager import IndexOutdated, Manager, PackagesRefused, PackageUnknown, Plan
from .state import Change, State, roles

KIND = "packages"


@dataclass(frozen=True)
class Done:
    """What came of it."""

    changed: bool
    installed: list[str]
    """Added, with what came along."""
    upgraded: list[str]
    """Installed before in another version: the revert cannot bring that back."""


def of_host(*, recommends: bool = False, lock_timeout_s: int = 300) -> Manager:
    """The package manager here. Raises PackagesRefused."""
    for command, manager in (("apt-get", Apt), ("dnf", Dnf)):
        if shutil.which(command):
            return manager(recommends=recommends, lock_timeout_s=lock_timeout_s)
    raise PackagesRefused("this host has neither apt-get nor dnf: install the packages by hand")


def change(
    role: str,
    names: Sequence[str],
    files: Sequence[str] = (),
    *,
    manager: Manager,
    root: Path = Path("/"),
    check: bool = False,
) -> Done:
    """Install what is missing of `names` and of the package files. Raises PackagesRefused and StateUnreadable."""
    noted = _noted(root)
    broken = _broken(manager, noted)
    if broken and not check:
        manager.repair(_added(noted))
    if not (missing := manager.missing(names, files)):
        if broken and not check and (still := manager.broken(triggers=False)):
            raise PackagesRefused(
                f"an installation by labkit was interrupted, and dpkg cannot continue it: {', '.join(still)}. See "
                "what `dpkg --configure -a` says, then run this again."
            )
        if not check:
            _share(role, names, noted, manager, root)
        return Done(broken, [], [])
    if broken and check:
        return Done(True, missing, [])  # apt simulates nothing before it is repaired
    with tempfile.TemporaryDirectory(prefix="labkit-index-") as folder:
        scratch = Path(folder) if check else None
        missing, plan = _plan(manager, names, files, missing, scratch)
        manager.room(plan.added)
        if not check:
            try:
                _install(role, manager, missing, plan, root)
            except IndexOutdated:
                manager.update(scratch)
                plan = _refuse_removal(manager.plan(missing))
                _install(role, manager, missing, plan, root)
    if not check and (still := manager.missing(names, files)):
        raise PackagesRefused(
            f"{manager.name} reported success, but these are not installed: {', '.join(still)}"
        )
    return Done(True, list(plan.added), list(plan.upgraded))


def _broken(manager: Manager, noted: dict[str, dict[str, list[str]]]) -> bool:
    """Whether a run of ours was broken off. A wreck that was there before us is refused.

    The list of broken packages does not show it: also others are half configured while their triggers run for ours.
    """
    ours = any(one["under_way"] for one in noted.values())
    broken = manager.broken(triggers=ours)
    if broken:
        manager.wait()  # another one may be in the midst of it: after a boot, updates that are due
        broken = manager.broken(triggers=ours)
    if broken and not ours:
        raise PackagesRefused(
            f"an installation was interrupted before labkit ran: {', '.join(broken)}. Nothing was changed. Run "
            "`dpkg --configure -a`, see what it says, then run this again."
        )
    return bool(broken)


def refuse_wreck(manager: Manager, root: Path = Path("/")) -> None:
    """Report what `change` would refuse, before anything is begun. Raises PackagesRefused, StateUnreadable."""
    _broken(manager, _noted(root))


def _plan(
    manager: Manager, names: Sequence[str], files: Sequence[str], missing: list[str], scratch: Path | None
) -> tuple[list[str], Plan]:
    """What to ask for, and what would come; the index is fetched where it does not know a name."""
    try:
        return missing, _refuse_removal(manager.plan(missing))
    except PackageUnknown:
        manager.update(scratch)
    missing = manager.missing(names, files)  # another alternative may be known now
    return missing, _refuse_removal(manager.plan(missing))


def _refuse_removal(plan: Plan) -> Plan:
    if plan.removed:
        raise PackagesRefused(
            f"installing {', '.join(plan.added)} would remove {', '.join(plan.removed)}. Nothing was changed. Remove "
            "these by hand first if you can do without."
        )
    return plan


def _install(role: str, manager: Manager, missing: list[str], plan: Plan, root: Path) -> None:
    state = State(role, root)
    noted = _noted(root)
    before = noted.get(role, _nothing())
    # What we added ourselves, and a broken off run or somebody else took off again, had none before us.
    configured = set(manager.configured(plan.added)) - _added(noted)
    note = {
        "added": sorted({*before["added"], *plan.added}),
        "configured": sorted({*before["configured"], *configured}),
        "under_way": sorted({*plan.added, *plan.upgraded}),
        "upgraded": sorted({*_upgraded(manager, plan, before["upgraded"]), *before["upgraded"]}),
    }
    state.note(KIND, manager.name, None, note)
    try:
        manager.install(missing)
    except PackagesRefused:
        if not manager.present(plan.added):
            _put_note(state, manager, before)
        raise
    state.note(KIND, manager.name, None, {**note, "under_way": []})


def _upgraded(manager: Manager, plan: Plan, before: Sequence[str]) -> list[str]:
    """The version to restore by hand, as NAME=VERSION; what we upgraded already had another version first."""
    known = {one.partition("=")[0] for one in before}
    versions = manager.versions(plan.upgraded)
    return [f"{name}={version}" for name, version in versions.items() if name not in known]


def upgraded(role: str, root: Path = Path("/")) -> list[str]:
    """What was upgraded for this role, as NAME=VERSION with the version that was there before."""
    found = [change.new for change in State(role, root).changes() if change.kind == KIND]
    return [one for note in found for one in note.get("upgraded", [])]


def _put_note(state: State, manager: Manager, note: dict[str, list[str]]) -> None:
    if note["added"] or note["upgraded"]:
        state.note(KIND, manager.name, None, note)
    else:
        state.forget(Change(KIND, manager.name, None))


def _share(
    role: str, names: Sequence[str], noted: dict[str, dict[str, list[str]]], manager: Manager, root: Path
) -> None:
    """What another role of ours added, and this one asks for, is noted here too: it stays until both are undone."""
    others = {name for other, one in noted.items() if other != role for name in one["added"]}
    shared = {part for name in names for part in name.split("|")} & others
    mine = noted.get(role, _nothing())
    if shared - set(mine["added"]):
        note = {**mine, "added": sorted({*mine["added"], *shared}), "under_way": []}
        State(role, root).note(KIND, manager.name, None, note)
    elif mine["under_way"]:
        State(role, root).note(KIND, manager.name, None, {**mine, "under_way": []})


def _nothing() -> dict[str, list[str]]:
    return {"added": [], "configured": [], "under_way": [], "upgraded": []}


def _noted(root: Path) -> dict[str, dict[str, list[str]]]:
    """Role to what it noted."""
    return {
        role: {**_nothing(), **change.new}
        for role in roles(root)
        for change in State(role, root).changes()
        if change.kind == KIND
    }


def _added(noted: dict[str, dict[str, list[str]]]) -> set[str]:
    """By whichever role."""
    return {name for one in noted.values() for name in one["added"]}


def restore(change: Change, root: Path, manager: Manager | None = None) -> str | None:
    """Remove those that are still there, and nothing else; None when done, else why not."""
    try:
        _remove(change, root, manager or of_host())
    except PackagesRefused as error:
        return str(error)
    return None


def refusal(change: Change, root: Path, manager: Manager | None = None) -> str | None:
    """Why `restore` would leave them, as far as that can be predicted. Changes nothing.

    A manager that cannot simulate now may well remove then: what is broken is repaired first, or another kernel runs.
    """
    try:
        _removal(change, _noted(root), manager or of_host())
    except _Entangled as error:
        return str(error)
    except PackagesRefused:
        return None
    return None


class _Entangled(PackagesRefused):
    """Something else depends on them."""


@dataclass(frozen=True)
class _Removal:
    own: str
    """Role whose packages go; empty: none are its alone."""
    ours: list[str]
    """What is noted as its alone."""
    going: list[str]
    """What of it is still there."""
    heir: str
    """Role that needs some of them, so that its revert removes them all; empty: none does."""


def _removal(change: Change, noted: dict[str, dict[str, list[str]]], manager: Manager) -> _Removal:
    """What removing comes to. Raises _Entangled where anything else would go, or come."""
    holders: dict[str, list[str]] = {}
    for role, one in noted.items():
        for name in one["added"]:
            holders.setdefault(name, []).append(role)
    ours = [name for name in change.new["added"] if len(holders[name]) == 1]
    own = holders[ours[0]][0] if ours else ""
    going = manager.present(ours)
    plan = manager.plan_removal(going) if going else Plan()
    others = [name for name in plan.removed if name not in going]
    if others and all(name in holders for name in others):
        return _Removal(own, ours, going, next(role for role in holders[others[0]] if role != own))
    more = [f"{name} removed" for name in others]
    more += [f"{name} installed" for name in (*plan.added, *plan.upgraded)]
    if more:
        raise _Entangled(
            f"removing what labkit added would affect other packages: {', '.join(more)}. Nothing was removed. Remove "
            f"these first if they are not needed, or keep the packages: {', '.join(going)}"
        )
    return _Removal(own, ours, going, "")


def _remove(change: Change, root: Path, manager: Manager) -> None:
    noted = _noted(root)
    # A package whose own script fails can still be removed.
    with contextlib.suppress(PackagesRefused):
        if _broken(manager, noted):
            manager.repair(_added(noted))
    found = _removal(change, noted, manager)
    if heir := found.heir:  # in whatever order they go
        note = {key: sorted({*noted[heir][key], *change.new.get(key, [])}) for key in noted[heir]}
        State(heir, root).note(KIND, manager.name, None, note)
        return
    if found.own:
        State(found.own, root).note(KIND, manager.name, None, {**change.new, "under_way": found.going})
    manager.remove(found.going, purge=[name for name in found.ours if name not in change.new["configured"]])
