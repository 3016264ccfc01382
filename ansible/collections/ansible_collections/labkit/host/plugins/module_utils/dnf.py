"""Packages of EL 9: dnf says what it would do before it does it."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .package_manager import NAME, Done, PackagesRefused, PackageUnknown, Plan, command_of, run

_LOCKED = 200
"""dnf's exit code for a lock that another one holds (dnf(8), exit codes)."""
_INCOMING = ("Installing", "Installing dependencies", "Installing weak dependencies")
_OUTGOING = ("Removing", "Removing dependent packages", "Removing unused dependencies")


class Dnf:
    """dnf and rpm of this host."""

    name = "dnf"

    def __init__(self, *, recommends: bool = False, lock_timeout_s: int = 300) -> None:
        self._weak = f"--setopt=install_weak_deps={recommends}"
        self._lock_timeout_s = lock_timeout_s

    def missing(self, names: Sequence[str], files: Sequence[str]) -> list[str]:
        """What of it is not installed; of alternatives "a|b" the first that there is."""
        wanted = [self._first(name.split("|")) for name in names]
        return [name for name in wanted if name] + [file for file in files if self._file_missing(file)]

    def _first(self, alternatives: Sequence[str]) -> str | None:
        """None: one of them is installed."""
        for name in alternatives:
            if not NAME.fullmatch(name):
                raise PackagesRefused(f"{name!r} is no package name: expected such as gcc or kernel-rt")
        if any(not run("rpm", "--query", "--whatprovides", name).code for name in alternatives):
            return None
        for name in alternatives[:-1]:
            if run("dnf", "--quiet", "list", "--available", name).code == 0:
                return name
        return alternatives[-1]

    def _file_missing(self, file: str) -> bool:
        if not Path(file).is_file():
            raise PackagesRefused(f"{file}: no such file; expected an RPM package")
        done = run("rpm", "--query", "--package", "--queryformat", "%{NAME}-%{VERSION}-%{RELEASE}", file)
        if done.code:
            raise PackagesRefused(f"{file}: expected a package of rpm: {done.output.strip()}")
        return bool(run("rpm", "--query", done.printed.strip()).code)

    def broken(self, *, triggers: bool) -> list[str]:
        """None: rpm has no half-installed state; what is not in its database is installed again."""
        return []

    def wait(self) -> None:
        """Nothing: each dnf is asked again for as long as another one holds the lock."""

    def repair(self, ours: Collection[str]) -> None:
        """Nothing to go on with."""

    def plan(self, wanted: Sequence[str]) -> Plan:
        """What installing would do.

        Of a package that may be there in several versions (kernels) the one that comes is named in full, if there is
        another: by its name alone all of them would be removed again.
        """
        rows = self._simulate("install", *wanted)
        added = [one for heading in _INCOMING for one in rows.get(heading, ())]
        several = set(self.present([one.name for one in added]))
        upgraded = [one.name for heading in ("Upgrading", "Downgrading") for one in rows.get(heading, ())]
        return Plan(
            added=tuple(one.full if one.name in several else one.name for one in added),
            upgraded=tuple(upgraded),
            removed=tuple(one.name for one in _outgoing(rows)),
        )

    def update(self, scratch: Path | None) -> None:
        """Nothing: dnf fetches an index that is out of date by itself."""

    def room(self, names: Sequence[str]) -> None:
        """Nothing: rpm looks at every file system before it begins."""

    def install(self, wanted: Sequence[str]) -> None:
        """Install."""
        self._must("--assumeyes", "install", *wanted)

    def present(self, names: Collection[str]) -> list[str]:
        """Those that are installed."""
        return [name for name in names if not run("rpm", "--query", name).code]

    def versions(self, names: Collection[str]) -> dict[str, str]:
        """Of those that are installed; of several versions the last that rpm names."""
        asked = {name: run("rpm", "--query", "--queryformat", "%{EVR}\n", name) for name in names}
        return {name: done.printed.split()[-1] for name, done in asked.items() if not done.code}

    def configured(self, names: Collection[str]) -> list[str]:
        """None: rpm keeps no configuration of what is not installed but as .rpmsave, which are nobody's."""
        return []

    def plan_removal(self, names: Sequence[str]) -> Plan:
        """What removing would do, in the names that were given."""
        rows = _outgoing(self._simulate("remove", "--noautoremove", *names))
        return Plan(removed=tuple(one.full if one.full in names else one.name for one in rows))

    def remove(self, names: Sequence[str], *, purge: Sequence[str]) -> None:
        """Remove the names."""
        if names:
            self._must("--assumeyes", "remove", "--noautoremove", *names)

    def _simulate(self, *arguments: str) -> dict[str, list[_Row]]:
        done = self._dnf("--assumeno", *arguments)
        # --assumeno ends with 1 where there was something to say no to.
        if done.code and "Operation aborted" not in done.output:
            raise _explain(done)
        return _table(done.printed)

    def _must(self, *arguments: str) -> None:
        done = self._dnf(*arguments)
        if done.code:
            raise _explain(done)

    def _dnf(self, *arguments: str) -> Done:
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            done = run("dnf", "--setopt=exit_on_lock=True", self._weak, *arguments)
            if done.code != _LOCKED:
                return done
            if time.monotonic() >= deadline:
                raise _explain(done)
            time.sleep(2)


@dataclass(frozen=True)
class _Row:
    """A package in dnf's table of a transaction."""

    name: str
    architecture: str
    version: str

    @property
    def full(self) -> str:
        """As rpm and dnf name one version of several; no epoch: rpm prints none."""
        return f"{self.name}-{self.version.rpartition(':')[2]}.{self.architecture}"


def _table(printed: str) -> dict[str, list[_Row]]:
    """Heading to rows. A long name has a line of its own, and the rest of its row is on the next."""
    found: dict[str, list[_Row]] = {}
    section = ""
    name: list[str] = []
    for line in printed.splitlines():
        words = line.split()
        if heading := re.fullmatch(r"([A-Z][a-z /]+):", line):
            section = heading.group(1)
        elif line.startswith("Transaction Summary"):
            break
        elif section and line.startswith(" ") and words:
            if len(words) == 1:
                name = words
            elif words[0] == "replacing":  # it obsoletes an installed one, NAME.ARCHITECTURE VERSION
                old, _, architecture = words[1].rpartition(".")
                found.setdefault("Removing", []).append(_Row(old, architecture, words[-1]))
            else:
                found.setdefault(section, []).append(_Row(*[*name, *words, "", ""][:3]))
                name = []
    return found


def _outgoing(rows: Mapping[str, list[_Row]]) -> list[_Row]:
    return [one for heading in _OUTGOING for one in rows.get(heading, ())]


def _explain(done: Done) -> PackagesRefused:
    """The message about a dnf that failed."""
    text = done.output
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = "; ".join([line for line in lines if line.startswith("Error")][:6] or lines[-6:])
    if done.code == _LOCKED:
        pid = re.search(r"locked by (\d+)", text)
        who = f"process {pid.group(1)} ({command_of(int(pid.group(1)))})" if pid else said
        return PackagesRefused(
            f"dnf is in use: {who}. Nothing was changed. Let it finish, then run this again."
        )
    # A repository that cannot be reached is left out, and then its packages are "unknown".
    if re.search(r"Could ?n[o']t resolve host|Failed to download metadata|All mirrors were tried", text):
        return PackagesRefused(f"the repositories cannot be reached: {said}. Nothing was installed.")
    if unknown := re.findall(r"No match for argument: (\S+)", text):
        return PackageUnknown(
            f"no package {', '.join(sorted(set(unknown)))} is in the repositories of this host. Look at the name and "
            "at `dnf repolist --all` (EL keeps some in crb, nfv and rt)."
        )
    if re.search(r"No space left on device|more space needed", text):
        return PackagesRefused(f"the disk is full: {said}. Make room (dnf clean all), then run this again.")
    return PackagesRefused(f"dnf failed with exit code {done.code}: {said}")
