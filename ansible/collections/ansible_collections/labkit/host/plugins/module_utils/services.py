"""Units of systemd: enabled or not, running or not, and as they were before."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .state import Change, State

KIND = "service"
_FIXED = frozenset({"static", "generated", "indirect", "transient", "alias"})
"""States of unit files which enabling does not change."""


class ServiceFailed(Exception):
    """systemctl said no, or the unit is not in the desired state."""


@dataclass(frozen=True)
class Status:
    """How a unit is now."""

    file: str
    """State of the unit file, such as enabled, disabled, masked or static; empty: there is no such unit."""
    running: bool

    @property
    def enabled(self) -> bool:
        """Whether it starts with the next boot too."""
        return self.file in {"enabled", "alias"}


def has_systemd(root: Path = Path("/")) -> bool:
    """Whether PID 1 is systemd (sd_booted(3))."""
    return (root / "run/systemd/system").is_dir()


def look(unit: str) -> Status:
    """Ask systemd. Raises ServiceFailed."""
    shown = _systemctl("show", "--property=LoadState,UnitFileState,ActiveState", "--", unit)
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    if values["LoadState"] == "not-found":
        return Status("", running=False)
    file = values["UnitFileState"] or ("masked" if values["LoadState"] == "masked" else "static")
    return Status(file, running=values["ActiveState"] in {"active", "activating", "reloading"})


def change(
    role: str,
    unit: str,
    *,
    enabled: bool | None = None,
    running: bool | None = None,
    root: Path = Path("/"),
    check: bool = False,
) -> bool:
    """Make it so; None leaves it as it is. Returns whether that changes anything. Raises ServiceFailed."""
    before = look(unit)
    if not before.file:
        if enabled or running:
            raise ServiceFailed(f"{unit}: this host has no such unit")
        return False
    if enabled is not None and enabled != before.enabled and before.file in _FIXED:
        raise ServiceFailed(f"{unit}: its unit file is {before.file}, so it is neither enabled nor disabled")
    if (enabled or running) and before.file.startswith("masked"):
        raise ServiceFailed(f"{unit}: it is masked. `systemctl unmask {unit}` if it may run")
    commands = _commands(unit, before, enabled, running)
    if commands and not check:
        state = State(role, root)
        known = state.noted(KIND, unit)
        # Also what an earlier call changed of it, and this one does not name, is reverted.
        wanted = {
            name: value if value is not None or known is None else known.new[name]
            for name, value in (("enabled", enabled), ("running", running))
        }
        state.note(KIND, unit, {"file": before.file, "running": before.running}, wanted)
        for command in commands:
            _systemctl(*command)
        after = look(unit)
        if _commands(unit, after, enabled, running):
            raise ServiceFailed(
                f"{unit}: expected it to be {_words(enabled, running)}, found {after.file} and "
                f"{'running' if after.running else 'not running'}. See journalctl -u {unit}"
            )
    return bool(commands)


def _commands(unit: str, now: Status, enabled: bool | None, running: bool | None) -> list[list[str]]:
    commands = []
    if enabled is not None and enabled != now.enabled:
        commands.append(["enable" if enabled else "disable", "--", unit])
    if running is not None and running != now.running:
        commands.append(["start" if running else "stop", "--", unit])
    return commands


def _words(enabled: bool | None, running: bool | None) -> str:
    words = [] if enabled is None else ["enabled" if enabled else "disabled"]
    words += [] if running is None else ["running" if running else "not running"]
    return " and ".join(words)


def restore(change: Change, root: Path) -> str | None:
    """Revert what we changed of it, if the unit is still there; None when done, else why not."""
    if not has_systemd(root):
        return "systemd does not run on this host"
    try:
        now = look(change.target)
        enabled = None if change.new["enabled"] is None else change.old["file"] in {"enabled", "alias"}
        running = None if change.new["running"] is None else change.old["running"]
        for command in _commands(change.target, now, enabled, running) if now.file else ():
            _systemctl(*command)
    except ServiceFailed as error:
        return str(error)
    return None


def _systemctl(*arguments: str) -> str:
    command = ["systemctl", "--no-ask-password", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise ServiceFailed(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise ServiceFailed(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def reload() -> None:
    """Have systemd read its unit files again. Raises ServiceFailed."""
    _systemctl("daemon-reload")
