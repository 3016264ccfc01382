"""Reads the state of a host: many files, links and commands in one request, as root; it changes nothing.

Over SSH into an emulated guest every command costs a third of a second. So a host check asks for all that it needs
at once, and each answer is kept for the next check.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from labkit.errors import EnvironmentBroken, ToolFailed

_MARK = "\x1e"
"""ASCII's record separator: in no file of /proc and /sys."""
_T = TypeVar("_T")
_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec /bin/sh -c %s; else exec sudo -n /bin/sh -c %s; fi'


_SHOWN = 200
"""At most so many characters of unreadable text are printed."""


class Result(Protocol):
    """The result of a testinfra command."""

    rc: int
    stderr: str

    @property
    def stdout_bytes(self) -> bytes:
        """What it printed, in whatever encoding a host's files have."""


class RemoteHost(Protocol):
    """The part of testinfra's host that is used here."""

    def run(self, command: str, *args: str) -> Result:
        """Run a shell command; `%s` are replaced by the quoted arguments."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """One command's exit code and what it printed."""

    code: int
    out: str
    """Both standard output and standard error, without white space around."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What one `HostReader.look` read."""

    files: Mapping[str, str]
    """Path to content without white space around it, of those that could be read."""
    links: Mapping[str, str]
    """Path of a symbolic link to what it points at."""
    commands: Mapping[str, CommandResult]

    def text(self, path: str) -> str | None:
        """Content of a file; None where there is none."""
        return self.files.get(path)

    def read(self, path: str, reader: Callable[[str], _T]) -> _T | None:
        """Content of a file as `reader` understands it; None where there is none. See `understood`."""
        text = self.text(path)
        return None if text is None else understood(path, text, reader)

    def matching(self, pattern: str) -> dict[str, str]:
        """The files whose path matches (* also over slashes)."""
        return {path: text for path, text in self.files.items() if fnmatchcase(path, pattern)}

    def target(self, path: str) -> str | None:
        """Last part of what a link points at, such as the driver's name."""
        return self.links[path].rpartition("/")[2] if path in self.links else None


def understood(place: str, text: str, reader: Callable[[str], _T]) -> _T:
    """What a host has there, as `reader` understands it. Raises ToolFailed that names the place.

    Only the check that needs it is then undecided.
    """
    try:
        return reader(text)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        found = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise ToolFailed(
            f"{place}: can't be read, found {found!r} ({error})", hint="check it on the host"
        ) from error


class HostReader:
    """Reads one host. Every answer is cached, so all checks see the same state."""

    def __init__(self, host: RemoteHost, *, name: str) -> None:
        self.name = name
        self._host = host
        self._cache: dict[str, HostFacts] = {}

    def look(
        self,
        *,
        files: Sequence[str] = (),
        links: Sequence[str] = (),
        commands: Mapping[str, str] | None = None,
    ) -> HostFacts:
        """Read files and links (shell patterns) and run commands, in the C locale and as root.

        Raises EnvironmentBroken where the host cannot be reached or root cannot be had, ToolFailed for half an answer.
        """
        script = _script(files, links, commands or {})
        if script not in self._cache:
            self._cache[script] = _parse(self._run(script), self.name)
        return self._cache[script]

    def _run(self, script: str) -> str:
        done = as_root(self._host, script, name=self.name)
        if done.rc == 0:
            return done.stdout_bytes.decode(errors="replace")
        raise EnvironmentBroken(
            f"{self.name}: commands could not be run as root: {done.stderr.strip() or f'exit code {done.rc}'}",
            hint="log in as root, or as a user whose sudo asks for no password",
        )


def as_root(host: RemoteHost, script: str, *, name: str) -> Result:
    """Run a shell script as root. Raises EnvironmentBroken for a host that cannot be reached."""
    try:
        return host.run(_AS_ROOT, script, script)
    except RuntimeError as error:  # what testinfra's SSH backend raises when ssh itself fails
        reported = getattr(error.args[0], "stderr", error) if error.args else error
        raise EnvironmentBroken(
            f"{name} cannot be reached: {str(reported).strip()}", hint=f"try: ansible -m ping {name}"
        ) from error


def _script(files: Sequence[str], links: Sequence[str], commands: Mapping[str, str]) -> str:
    lines = ["export LC_ALL=C PATH=$PATH:/usr/local/bin:/usr/sbin:/sbin"]
    if files:  # one process for hundreds of files
        lines.append(f"grep -saHZ '' {' '.join(files)} </dev/null")
    lines.append(f"echo; echo {_MARK}links")
    if links:
        lines.append(f"find {' '.join(links)} -maxdepth 0 -type l -printf '%p\\0%l\\n' 2>/dev/null")
    for name, command in commands.items():
        lines.append(f"echo {_MARK}command {shlex.quote(name)}")
        lines.append(f"( {command}\n) </dev/null 2>&1")
        lines.append(f"code=$?; echo; echo {_MARK}code $code")
    lines.append(f"echo {_MARK}end")
    return "\n".join(lines)


def _parse(text: str, name: str) -> HostFacts:
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    commands: dict[str, CommandResult] = {}
    part, command, printed = "files", "", [""]
    for line in text.split("\n"):  # splitlines() would also split at the mark
        if line.startswith(_MARK):
            part, _, rest = line[1:].partition(" ")
            if part == "command":
                command, printed = rest, []
            elif part == "code":
                commands[command] = CommandResult(int(rest), "\n".join(printed).strip())
        elif part == "command":
            printed.append(line)
        elif part in ("files", "links") and "\0" in line:
            path, _, content = line.partition("\0")
            if part == "links":
                links[path] = content
            else:
                files[path] = f"{files[path]}\n{content}" if path in files else content
    if part != "end":
        raise ToolFailed(f"{name}: the answer broke off: {text[-200:]!r}")
    return HostFacts({path: content.strip() for path, content in files.items()}, links, commands)
