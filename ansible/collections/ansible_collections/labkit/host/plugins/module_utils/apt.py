"""Packages of Debian and Ubuntu: apt simulates before it acts, so what it will do is known exactly."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import apt_trouble
from .package_manager import NAME, Done, PackagesRefused, Plan, run

_THEIR_FILES_STAY = ("--force-confdef", "--force-confold")
_AT_REST = frozenset({"installed", "not-installed", "config-files"})
"""States of dpkg in which nothing is left to do."""
_TRIGGERS = frozenset({"triggers-awaited", "triggers-pending"})
"""Installed; something is still to be run, by whichever dpkg comes next."""
_UPDATES = Path("/var/lib/dpkg/updates")
"""Files here: dpkg was killed, and nothing works before `dpkg --configure -a`."""


@dataclass(frozen=True)
class Package:
    """One line of dpkg-query."""

    status: str
    version: str
    provides: frozenset[str]


class Apt:
    """apt-get and dpkg of this host."""

    name = "apt"

    def __init__(self, *, recommends: bool = False, lock_timeout_s: int = 300) -> None:
        self._recommends = "--install-recommends" if recommends else "--no-install-recommends"
        self._lock_timeout_s = lock_timeout_s
        self._index: tuple[str, ...] = ()

    def missing(self, names: Sequence[str], files: Sequence[str]) -> list[str]:
        """What of it is not installed; of alternatives "a|b" the first that there is."""
        known = self._packages()
        wanted = [self._first(name.split("|"), known) for name in names]
        return [name for name in wanted if name] + [file for file in files if self._file_missing(file, known)]

    def _first(self, alternatives: Sequence[str], known: dict[str, Package]) -> str | None:
        """None: one of them is installed."""
        for name in alternatives:
            if not NAME.fullmatch(name):
                raise PackagesRefused(
                    f"{name!r} is no package name: expected such as gcc or linux-image-amd64"
                )
        plain = [self._plain(name) for name in alternatives]
        if any(_installed(name, known) for name in plain):
            return None
        if len(alternatives) == 1:
            return plain[0]
        policy = self._apt("apt-cache", "policy", *plain).printed
        found = re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", policy, re.MULTILINE)
        # None at all: apt's own word on the first is the message.
        return next((name for name in plain if name in found), plain[0])

    def _plain(self, name: str) -> str:
        """Without the architecture where it is this host's own."""
        base, _, architecture = name.partition(":")
        return base if architecture in ("", "all", self._architecture) else name

    def _file_missing(self, file: str, known: dict[str, Package]) -> bool:
        if not Path(file).is_file():
            raise PackagesRefused(f"{file}: no such file; expected a Debian package")
        done = run("dpkg-deb", "--show", "--showformat", "${Package} ${Version}", file)
        if done.code:
            raise PackagesRefused(f"{file}: expected a package of Debian: {done.output.strip()}")
        name, version = done.printed.split()
        package = known.get(name)
        return not (package and package.status in {"installed", *_TRIGGERS} and package.version == version)

    def broken(self, *, triggers: bool) -> list[str]:
        """Packages in the midst of an installation or removal that was broken off, as "name (state)"."""
        at_rest = _AT_REST if triggers else _AT_REST | _TRIGGERS
        found = [
            f"{name} ({package.status})"
            for name, package in self._packages().items()
            if package.status not in at_rest
        ]
        if not found and any(file.name.isdigit() for file in _UPDATES.glob("*")):
            return ["dpkg (its database)"]
        return found

    def wait(self) -> None:
        """Until no other apt or dpkg is at work."""
        apt_trouble.wait_for_locks(self._lock_timeout_s)

    def repair(self, ours: Collection[str]) -> None:
        """Go on where dpkg was broken off, as far as that goes without what is to be installed next.

        Of what was half unpacked, those that are ours are removed: they are installed anew, and maybe from a file that
        apt does not know. None of these has to come right: what is left shows in `broken`.
        """
        self.wait()
        run("dpkg", *_THEIR_FILES_STAY, "--configure", "-a")
        known = self._packages()
        half = [name for name in ours if name in known and known[name].status == "half-installed"]
        if half:
            run("dpkg", "--force-remove-reinstreq", "--remove", *half)
        self._apt("apt-get", "--no-remove", *self._options(), self._recommends, "--fix-broken", "install")

    def plan(self, wanted: Sequence[str]) -> Plan:
        """What installing would do, with the options of the real run. Raises PackageUnknown."""
        return _plan(self._must(self._apt("apt-get", "--simulate", *self._install(wanted))).printed)

    def update(self, scratch: Path | None) -> None:
        """Fetch the index; into this folder, to look at only, where one is given."""
        if scratch:
            scratch.chmod(0o755)  # apt fetches as a user of its own
            for name in ("lists/partial", "cache/archives/partial"):
                (scratch / name).mkdir(parents=True)
            self._index = ("-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache")
        else:
            self.wait()
        # Without this option an index that cannot be fetched is a warning and exit code 0.
        self._must(self._apt("apt-get", "-o", "APT::Update::Error-Mode=any", "update"))

    def room(self, names: Sequence[str]) -> None:
        """Refuse what has no room on the disk: apt looks for the archives' only."""
        apt_trouble.room(self._apt("apt-cache", "--no-all-versions", "show", *names).printed)

    def install(self, wanted: Sequence[str]) -> None:
        """Install, and never remove. Raises IndexOutdated."""
        self.wait()
        self._must(self._apt("apt-get", "--no-remove", *self._install(wanted)))

    def _install(self, wanted: Sequence[str]) -> list[str]:
        # Also for what is half there already, of a run that was broken off.
        return [*self._options(), self._recommends, "--fix-broken", "install", *wanted]

    def present(self, names: Collection[str]) -> list[str]:
        """Those of which anything but configuration is on the disk."""
        known = self._packages()
        return [
            name
            for name in names
            if name in known and known[name].status not in {"not-installed", "config-files"}
        ]

    def versions(self, names: Collection[str]) -> dict[str, str]:
        """Of those that are installed."""
        known = self._packages()
        return {name: known[name].version for name in names if name in known}

    def configured(self, names: Collection[str]) -> list[str]:
        """Those that are not installed, but whose configuration is on the disk."""
        known = self._packages()
        return [name for name in names if name in known and known[name].status == "config-files"]

    def plan_removal(self, names: Sequence[str]) -> Plan:
        """What removing would do."""
        return _plan(
            self._must(self._apt("apt-get", "--simulate", *self._options(), "remove", *names)).printed
        )

    def remove(self, names: Sequence[str], *, purge: Sequence[str]) -> None:
        """Remove the names, then the configuration of those in `purge`."""
        self.wait()
        if names:
            self._must(self._apt("apt-get", *self._options(), "remove", *names))
        if left := self.configured(purge):
            self._must(run("dpkg", "--purge", *left))

    def _options(self) -> list[str]:
        return [
            "--yes",
            *(word for one in _THEIR_FILES_STAY for word in ("-o", f"Dpkg::Options::={one}")),
            "-o", f"DPkg::Lock::Timeout={self._lock_timeout_s}",
            "-o", "APT::Get::AutomaticRemove=false",
            "-o", "APT::Install-Suggests=false",
        ]  # fmt: skip

    def _apt(self, command: str, *arguments: str) -> Done:
        return run(command, *self._index, *arguments)

    def _must(self, done: Done) -> Done:
        if done.code:
            raise apt_trouble.explain(done)
        return done

    @cached_property
    def _architecture(self) -> str:
        return run("dpkg", "--print-architecture").printed.strip()

    def _packages(self) -> dict[str, Package]:
        """By the names that apt uses: with the architecture only where it is not this host's own."""
        fields = ("Package", "Architecture", "db:Status-Status", "Version", "Provides")
        shown = "".join(f"${{{field}}}\\t" for field in fields) + "\\n"
        native = self._architecture
        packages = {}
        for line in self._must(run("dpkg-query", "--show", "--showformat", shown)).printed.splitlines():
            name, architecture, status, version, provides = line.split("\t")[:5]
            key = name if architecture in (native, "all") else f"{name}:{architecture}"
            virtual = frozenset(word.split()[0] for word in provides.split(",") if word.strip())
            packages[key] = Package(status, version, virtual)
        return packages


def _installed(name: str, known: dict[str, Package]) -> bool:
    """Whether it is, or something that provides it is."""
    there = {"installed", *_TRIGGERS}
    if name in known and known[name].status in there:
        return True
    return any(name in package.provides and package.status in there for package in known.values())


def _plan(simulated: str) -> Plan:
    """Read what `apt-get --simulate` prints."""
    return Plan(
        added=tuple(name for name, old in _incoming(simulated) if not old),
        upgraded=tuple(name for name, old in _incoming(simulated) if old),
        removed=tuple(re.findall(r"^(?:Remv|Purg) (\S+)", simulated, re.MULTILINE)),
    )


def _incoming(simulated: str) -> Iterator[tuple[str, str]]:
    """Lines such as "Inst hello [2.9] (2.10-3 Debian:12 [amd64])"; without the brackets it is a new one."""
    yield from re.findall(r"^Inst (\S+)(?: \[([^]]*)\])? \(", simulated, re.MULTILINE)
