"""Interrupts are moved off isolated cores, as far as the kernel lets anybody move them.

IRQs come and go, and their affinities die with the boot: what they were is kept in /run, which dies with it too. The
state file has what outlives a boot: which cores are kept free, and the default for IRQs to come.
"""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import cpus
from .settings import Setting
from .state import Change, State, StateUnreadable, write_whole

KIND = "irqs"
FOLDER = "/proc/irq"
DEFAULT = f"{FOLDER}/default_smp_affinity"
JOURNAL = "run/labkit-host/irqs.json"
"""In the folder of labkit-host.service, which may write nowhere else."""


@dataclass(frozen=True)
class Irq:
    """One interrupt line."""

    number: int
    name: str
    """Of its handlers, "-" if it has none: numbers are used again, so both make an IRQ."""
    folder: Path

    def affinity(self) -> frozenset[int]:
        """Where it may go."""
        return cpus.parse((self.folder / "smp_affinity_list").read_text())

    def effective(self) -> frozenset[int]:
        """Where it does go; not every controller reports it."""
        try:
            return cpus.parse((self.folder / "effective_affinity_list").read_text())
        except FileNotFoundError:
            return self.affinity()

    def movable(self) -> bool:
        """False where the kernel says so by the file's mode; before 6.12 only a write shows it."""
        return bool((self.folder / "smp_affinity_list").stat().st_mode & 0o200)

    def move(self, cores: frozenset[int]) -> None:
        """Let it go there only. Raises OSError."""
        (self.folder / "smp_affinity_list").write_text(cpus.listed(cores) + "\n")

    def __str__(self) -> str:
        return f"{self.number} ({self.name})"


@dataclass
class Outcome:
    """What became of the IRQs of a host."""

    changed: bool = False
    moved: list[str] = field(default_factory=list)
    """Those that were, or in check mode would be, moved."""
    stay: dict[str, str] = field(default_factory=dict)
    """Those that may still go to an isolated core, with the reason; the kernel looks after managed ones itself."""
    on_isolated: list[str] = field(default_factory=list)
    """Those that do go there by effective_affinity_list, and stay."""
    waiting: list[str] = field(default_factory=list)
    """Those that still go there, but leave with their next interrupt: most x86 hosts move an IRQ no sooner."""
    offline: str = ""
    """List of the isolated cores that don't run: no IRQ goes there."""


def irqs(root: Path) -> list[Irq]:
    """All that a host has now."""
    found = []
    for folder in (root / FOLDER.lstrip("/")).glob("[0-9]*"):
        names = sorted(path.name for path in folder.glob("*/"))
        found.append(Irq(int(folder.name), ",".join(names) or "-", folder))
    return sorted(found, key=lambda irq: irq.number)


def change(
    role: str, isolated: str, *, persist: bool = False, root: Path = Path("/"), check: bool = False
) -> Outcome:
    """Keep interrupts off these cores. Raises ValueError for cores that can't be isolated: nothing is changed then."""
    present = (root / cpus.PRESENT.lstrip("/")).read_text()
    if problems := cpus.problems(isolated, present):
        raise ValueError("; ".join(problems))
    state = State(role, root)
    known = next((one for one in state.changes() if one.kind == KIND), None)
    wanted = {"isolated": cpus.listed(cpus.parse(isolated))}
    noted = known is not None and (known.new, known.persist) == (wanted, persist)
    if not check and known and cpus.parse(known.new["isolated"]) - cpus.parse(isolated):
        restore(
            known, root
        )  # cores that are isolated no more have theirs back; what does not go back stays moved
    if not check and not noted:
        default = Setting(DEFAULT, "cpumask", root).read()
        state.note(KIND, FOLDER, {"default": default}, wanted, persist=persist)
    outcome = _keep_off(cpus.parse(isolated), cpus.parse(present), root, check=check)
    outcome.changed = outcome.changed or not noted
    return outcome


def again(change: Change, root: Path) -> None:
    """Move them once more, after a boot. Raises OSError and SettingRefused."""
    present = (root / cpus.PRESENT.lstrip("/")).read_text()
    _keep_off(cpus.parse(change.new["isolated"]), cpus.parse(present), root, check=False)


def _keep_off(isolated: frozenset[int], present: frozenset[int], root: Path, *, check: bool) -> Outcome:
    offline = cpus.offline(present, _online(root))
    outcome = Outcome(offline=cpus.listed(isolated & offline))
    rest = present - isolated
    default = Setting(DEFAULT, "cpumask", root)
    if cpus.from_mask(default.read()) & present != rest:
        outcome.changed = True
        if not check:
            default.write(cpus.mask(rest))
    journal = _journal(root)
    to_move: list[tuple[Irq, frozenset[int]]] = []
    for irq in irqs(root):
        try:
            affinity, movable = irq.affinity(), irq.movable()
        except FileNotFoundError:  # gone meanwhile
            continue
        if not affinity & isolated:
            continue
        if not movable or journal["fixed"].get(str(irq.number)) == irq.name:
            outcome.stay[str(irq)] = "the kernel lets nobody move it"
            continue
        # The kernel takes no list of which nothing runs: a core's sibling alone, with SMT off (EINVAL).
        left = affinity - isolated
        to_move.append((irq, left if left - offline else rest))
        old = journal["old"].get(str(irq.number))
        if old is None or old["name"] != irq.name:
            journal["old"][str(irq.number)] = {"name": irq.name, "affinity": cpus.listed(affinity)}
    if to_move and not check:
        _write(journal, root)
    for irq, cores in to_move:
        if check or _moved(irq, cores, journal, outcome):
            outcome.moved.append(str(irq))
    if outcome.stay and not check:
        _write(journal, root)
    outcome.changed = outcome.changed or bool(outcome.moved)
    for irq in irqs(root):
        try:
            if irq.effective() & isolated - offline and not (check and str(irq) in outcome.moved):
                (outcome.on_isolated if irq.affinity() & isolated else outcome.waiting).append(str(irq))
        except FileNotFoundError:
            continue
    return outcome


def _online(root: Path) -> str:
    """The list of the cores that run; empty where the kernel does not report it."""
    try:
        return (root / cpus.ONLINE.lstrip("/")).read_text()
    except OSError:
        return ""


def _moved(irq: Irq, cores: frozenset[int], journal: dict[str, Any], outcome: Outcome) -> bool:
    try:
        irq.move(cores)
        if irq.affinity() == cores:
            return True
        outcome.stay[str(irq)] = f"asked for {cpus.listed(cores)}, read back {cpus.listed(irq.affinity())}"
    except FileNotFoundError:
        pass
    except OSError as error:
        outcome.stay[str(irq)] = error.strerror
        if error.errno == errno.EIO:  # managed by the kernel, or wired to one core: so until the next boot
            outcome.stay[str(irq)] = "the kernel lets nobody move it"
            journal["fixed"][str(irq.number)] = irq.name
    if (journal["old"].get(str(irq.number)) or {}).get("name") == irq.name:
        del journal["old"][str(irq.number)]
    return False


def restore(change: Change, root: Path) -> str | None:
    """Let those that are still there go where they went before; None when done, else why not."""
    journal = _journal(root)
    wrong: list[str] = []
    online = _online(root)

    def offline(old: dict[str, Any]) -> str:
        gone = cpus.offline(cpus.parse(old["affinity"]), online)
        return f" ({cpus.listed(gone)} offline by now)" if gone else ""

    for irq in irqs(root):
        old = journal["old"].get(str(irq.number))
        if not old or old["name"] != irq.name:
            continue
        try:
            irq.move(cpus.parse(old["affinity"]))
        except FileNotFoundError:
            continue
        except OSError as error:
            wrong.append(
                f"IRQ {irq} does not go back to cores {old['affinity']}: {error.strerror}{offline(old)}"
            )
    if wrong:
        return "; ".join(wrong)
    default = Setting(DEFAULT, "cpumask", root)
    if not default.same(default.read(), change.old["default"]):
        default.write(change.old["default"])
    _forget(root)
    return None


def _journal(root: Path) -> dict[str, Any]:
    """Of this boot: "old" has affinities by number, "fixed" the names of those that refused, by number."""
    try:
        text = (root / JOURNAL).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {"old": {}, "fixed": {}}
    try:
        content = json.loads(text)
        return {"old": dict(content["old"]), "fixed": dict(content["fixed"])}
    except (ValueError, KeyError, TypeError) as error:
        raise StateUnreadable(
            f"/{JOURNAL}: not what labkit writes ({error}). It holds where IRQs went before, until the next boot: "
            "nothing was changed. Remove it if that does not matter, or reboot"
        ) from error


def _write(journal: dict[str, Any], root: Path) -> None:
    path = root / JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    write_whole(path, (json.dumps(journal, indent=1) + "\n").encode(), mode=0o600)


def _forget(root: Path) -> None:
    path = root / JOURNAL
    path.unlink(missing_ok=True)
    try:
        path.parent.rmdir()
    except OSError:  # others keep something there
        return
