"""What `labkit down` does: reverts the changes in the journal, the last one first, from any process."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from labkit.errors import LabkitError
from labkit.machine import fix
from labkit.machine.journal import Entry, Journal, JournalState, this_boot
from labkit.machine.privilege import state_directory
from labkit.machine.tunables import title, undo
from labkit.progress import ReportLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The result of reverting one change."""

    lab: str
    what: str
    done: bool
    left: str | None
    """Why it was not undone, and what to do; None when it was."""


def down(
    *,
    force: bool = False,
    lab: str | None = None,
    abandoned: bool = False,
    standing: Collection[str] = (),
    journal: Journal | None = None,
    progress: ReportLine | None = None,
) -> list[Undone]:
    """Undo every change that the journal holds (of one lab, or of all), the last one first.

    `abandoned`: only what controllers left that were killed; labs that `labkit up` brought up stay. `standing`: labs
    whose record stays, as something of them is left on other machines.

    A lab whose controller lives is left to it, unless forced. A setting that someone else changed since is left and
    reported. Doing it again is harmless.
    """
    journal = journal or Journal(state_directory())
    say = progress or (lambda _: None)
    state = journal.read()
    of_lab = [entry for entry in state.entries if lab in (None, entry.lab)]
    chosen = _abandoned(state) if abandoned else of_lab
    undone = list(_undo_all(reversed(chosen), frozenset(state.labs), journal, force=force, say=say))
    kept = {entry.lab for entry in journal.read().entries}
    for name in () if abandoned else state.labs:
        if lab in (None, name) and name not in kept and name not in standing:
            journal.lab_is_gone(name)
    if lab is not None or abandoned:
        return undone
    undone += [
        Undone(lab="", what="a line of the journal", done=False, left=text) for text in state.unreadable
    ]
    return undone


def left_over(journal: Journal | None = None) -> list[str]:
    """What labkit processes that were killed have left changed, each as lab, setting and values; `down` reverts it."""
    state = (journal or Journal(state_directory())).read()
    return [f"{entry.lab}: {_what(entry)}" for entry in _abandoned(state) if this_boot(entry)]


def _abandoned(state: JournalState) -> list[Entry]:
    return [entry for entry in state.entries if entry.lab not in state.labs and not entry.owner.alive]


def _what(entry: Entry) -> str:
    return f"{title(entry.tunable)}: {entry.new} -> {entry.old}"


def _undo_all(
    entries: Iterable[Entry], standing: frozenset[str], journal: Journal, *, force: bool, say: ReportLine
) -> Iterable[Undone]:
    for entry in entries:
        what = _what(entry)
        if not this_boot(entry):
            journal.end(entry)
            continue  # gone with the reboot
        if entry.lab not in standing and entry.owner.alive and not force:
            at_once = fix.labkit("down", "--force")
            left = f"process {entry.owner.pid} is using it and will undo it; {at_once} does it now"
            yield Undone(lab=entry.lab, what=what, done=False, left=left)
            continue
        say(what)
        try:
            left_because = undo(entry, journal=journal)
        except (LabkitError, OSError) as error:
            left_because = str(error)
        yield Undone(lab=entry.lab, what=what, done=left_because is None, left=left_because)
