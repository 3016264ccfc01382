"""Settings of a network interface: recorded, set, read back, restored, and set again after a boot.

Each note is of one group (rings, features ...) of one interface, and has the old values of exactly those settings
that were changed first by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import digits, ethtool_text, links, protected
from .ethtool_groups import (
    GROUPS,
    EthtoolFailed,
    NotRestored,
    is_down,
    meant,
    read,
    remade,
    run,
    slip,
    text_of,
)
from .ethtool_text import Values
from .state import Change, State

KIND = "ethtool"

Settings = dict[str, dict[str, str]]
"""Group to key to value."""


@dataclass(frozen=True)
class Device:
    """Which interface this is, also when it has got another name."""

    name: str
    pci: str | None
    permanent: str | None
    """Permanent MAC address; virtual interfaces have none."""

    @property
    def known(self) -> tuple[str | None, str | None]:
        """What a device keeps over a boot."""
        return self.pci, self.permanent

    def __str__(self) -> str:
        ids = [word for word in (self.pci, self.permanent) if word]
        return f"{self.name} ({', '.join(ids)})" if ids else self.name


def device(name: str, root: Path = Path("/")) -> Device:
    """The interface of that name. Raises EthtoolFailed."""
    return Device(
        name, links.pci_of(name, root), ethtool_text.permanent_address(run(["ethtool", "-P", name]))
    )


def change(
    role: str,
    name: str,
    wanted: Mapping[str, Mapping[str, Any]],
    *,
    over_ssh: bool,
    management: list[str],
    persist: bool = False,
    root: Path = Path("/"),
    check: bool = False,
) -> tuple[Settings, Settings]:
    """Make the interface so. Returns what that changes: as it was, and as it is then.

    All is looked at before the first change: an interface that must not be touched (links.Untouchable), settings that
    the driver has not, fixed ones and values above its maximum (EthtoolFailed).
    """
    name = links.touchable(name, over_ssh=over_ssh, management=management, root=root).name
    found = device(name, root)
    state = State(role, root)
    asked = look_at(name, wanted)
    groups = [one for one in GROUPS if asked.get(one)]
    # Before the first change: other channels make rings, moderation and RSS anew.
    first = {group: read(name, group) for group in groups}
    before: Settings = {}
    after: Settings = {}
    for group in groups:
        old, new = _one_group(state, found, group, asked[group], first[group], persist=persist, check=check)
        if new:
            before[group], after[group] = old, new
    return before, after


def look_at(name: str, wanted: Mapping[str, Mapping[str, Any]]) -> Settings:
    """What is asked for in ethtool's words, if the interface takes all of it. Raises EthtoolFailed."""
    asked = {group: {key: text_of(value) for key, value in wanted[group].items()} for group in wanted}
    for group in [one for one in GROUPS if asked.get(one)]:
        for key, value in asked[group].items():
            wrong = slip(group, key, value)
            if wrong:
                raise EthtoolFailed(f"{name}: {wrong}")
        _allowed(name, group, meant(name, group, asked[group]))
    return asked


def _allowed(name: str, group: str, wanted: Mapping[str, str]) -> Values:
    """The values in effect, if all that is wanted may be set. Raises EthtoolFailed."""
    values = read(name, group)
    for key, value in wanted.items():
        if key not in values:
            there = ", ".join(one for one in values if not values[one].fixed) or "none at all"
            down = ". It is down: some drivers have that only while it is up" if is_down(name) else ""
            raise EthtoolFailed(f"{name}: its driver has no {group} {key}; it has {there}{down}")
        one = values[key]
        if one.fixed and one.now != value:
            raise EthtoolFailed(f"{name}: {group} {key} is fixed by the driver at {one.now}, wanted {value}")
        number = digits.whole(value)
        if one.most is not None and number is not None and number > one.most:
            raise EthtoolFailed(
                f"{name}: {group} {key} {value} is more than the driver's maximum, {one.most}"
            )
    return values


def _one_group(
    state: State,
    found: Device,
    group: str,
    asked: Mapping[str, str],
    first: Values,
    *,
    persist: bool,
    check: bool,
) -> tuple[dict[str, str], dict[str, str]]:
    """Old and new values of what is changed, in effect or in what is made again at boot."""
    wanted = meant(found.name, group, asked)
    values = _allowed(found.name, group, wanted)
    notes = [one for one in state.changes() if one.kind == KIND and _is_of(one, found, group)]
    covered = {key: note for note in notes for key in note.new}
    differ = {key: value for key, value in wanted.items() if values[key].now != value}
    # At a boot the kernel forgets also what happens to be right already.
    forgotten = {
        key: value
        for key, value in wanted.items()
        if persist and not (key in covered and covered[key].persist and covered[key].new[key] == value)
    }
    touched = {**forgotten, **differ}
    # Not that which was right, and is set again only because other channels have made it anew.
    after = {key: value for key, value in touched.items() if key in forgotten or first[key].now != value}
    before = {key: first[key].now for key in after}
    anew = remade(found.name) if group == "channels" and touched else {}
    if check or not touched:
        return before, after
    for note in notes:
        new = {key: touched.get(key, value) for key, value in note.new.items()}
        if (new, persist) != (note.new, note.persist):
            state.note(KIND, note.target, note.old, new, persist=persist or note.persist)
    fresh = {key: value for key, value in touched.items() if key not in covered}
    target = f"{found.name} {group} {' '.join(sorted(fresh))}"
    if fresh:
        old = {**asdict(found), "group": group, "values": {key: first[key].kept for key in fresh}}
        if anew:
            old["remade"] = anew
        state.note(KIND, target, old, fresh, persist=persist)
    try:
        _set(found.name, group, differ, values, anew)
    except NotRestored:
        raise
    except EthtoolFailed:
        # What is in effect is as it was before this run, so the notes are too.
        if fresh:
            state.forget(Change(KIND, target, None))
        for note in notes:
            state.note(KIND, note.target, note.old, note.new, persist=note.persist)
        raise
    return before, after


def _is_of(note: Change, found: Device, group: str) -> bool:
    """Raises EthtoolFailed for a note of another device that had this name."""
    noted = _noted(note)
    if noted.name == found.name and noted.known != found.known:
        raise EthtoolFailed(
            f"{found} has the name that {noted} had when it was changed: undo that first (revert.yml), "
            "or the old values of one would be put on the other"
        )
    return (
        note.old["group"] == group
        and noted.known == found.known
        and (any(noted.known) or noted.name == found.name)
    )


def _noted(note: Change) -> Device:
    return Device(note.old["name"], note.old["pci"], note.old["permanent"])


def _set(
    name: str, group: str, wanted: Mapping[str, str], before: Values, anew: Mapping[str, Mapping[str, str]]
) -> None:
    """Set and read back; `anew` is what other channels change besides.

    Raises EthtoolFailed when the old values are there again after all, else NotRestored.
    """
    if not wanted:
        return
    trouble = _try(name, group, wanted)
    if trouble is None:
        return
    now = read(name, group)
    moved = {key: before[key].kept for key in wanted if key not in now or now[key] != before[key]}
    old = _words({key: before[key].now for key in wanted})
    worse = _put_back(name, group, moved) or _as_before(name, anew)
    if worse:
        raise NotRestored(f"{trouble}; AND THE OLD VALUES ({old}) COULD NOT BE RESTORED: {worse}")
    raise EthtoolFailed(f"{trouble}; the old values are in effect ({old})")


def _try(name: str, group: str, wanted: Mapping[str, str]) -> str | None:
    """None: it is in effect. Else what went wrong."""
    try:
        GROUPS[group].apply(name, wanted)
    except EthtoolFailed as error:
        return str(error)
    now = {key: value.now for key, value in read(name, group).items()}
    return _missed(name, group, wanted, now)


def _put_back(name: str, group: str, old: Mapping[str, str]) -> str | None:
    """None: it is as it was, which for a feature may be asked for and not in effect. Else what went wrong."""
    if not old:
        return None
    try:
        GROUPS[group].apply(name, old)
    except EthtoolFailed as error:
        return str(error)
    return _missed(name, group, old, {key: value.kept for key, value in read(name, group).items()})


def _as_before(name: str, anew: Mapping[str, Mapping[str, str]]) -> str | None:
    """Restore what a change of channels reset. None: it is as it was."""
    for group, old in anew.items():
        try:
            now = read(name, group)
        except EthtoolFailed as error:
            return str(error)
        moved = {key: value for key, value in old.items() if key in now and now[key].kept != value}
        worse = _put_back(name, group, moved)
        if worse:
            return worse
    return None


def _missed(name: str, group: str, wanted: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    missed = {key: now.get(key, "nothing") for key in wanted if now.get(key) != wanted[key]}
    if not missed:
        return None
    return f"{name} {group}: set {_words({key: wanted[key] for key in missed})}, read back {_words(missed)}"


def _words(values: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _where(note: Change, root: Path) -> Device | None:
    """The interface of a note, by what it keeps when it gets another name; None: it is gone. Raises EthtoolFailed."""
    noted = _noted(note)
    names = [link["ifname"] for link in links.look(root).links]
    # The name first: it is the right one, but for devices that have changed places.
    for name in sorted(names, key=lambda one: one != noted.name):
        if name == noted.name or (any(noted.known) and links.pci_of(name, root) == noted.pci):
            found = device(name, root)
            if found.known == noted.known:
                return found
    return None


def again(change: Change, root: Path) -> None:
    """Make it so once more, after a boot. Raises EthtoolFailed, also for an interface that has gone or moved."""
    found = _where(change, root)
    if found is None:
        raise EthtoolFailed(f"{_noted(change)} is not there: its {change.old['group']} are not set")
    name = _touchable(found, root)
    group = change.old["group"]
    values = _allowed(name, group, change.new)
    differ = {key: value for key, value in change.new.items() if values[key].now != value}
    _set(name, group, differ, values, remade(name) if group == "channels" and differ else {})


def restore(change: Change, root: Path) -> str | None:
    """Restore the old values; None when done, else the reason why not."""
    try:
        found = _where(change, root)
        if found is None:
            if _noted(change).known == (None, None):
                return None  # a virtual interface took its settings with it
            return f"{_noted(change)} is not there (it was {_words(change.old['values'])})"
        name = _touchable(found, root)
        group = change.old["group"]
        values = read(name, group)
        old = {
            key: value
            for key, value in change.old["values"].items()
            if key not in values or values[key].kept != value
        }
        # Also where they are right: an earlier revert may have been broken off just then.
        anew = change.old.get("remade", {}) if change.new != change.old["values"] else {}
        return _put_back(name, group, old) or _as_before(name, anew)
    except (EthtoolFailed, links.Untouchable, protected.WayUnknown) as error:
        return str(error)


def _touchable(found: Device, root: Path) -> str:
    """Also what we changed ourselves is left alone once the way to this host goes over it."""
    return links.touchable(found.name, over_ssh=False, management=[], root=root).name
