"""File systems that are mounted where they were missing, until the next boot."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .state import Change, State

KIND = "mount"


class MountFailed(Exception):
    """mount or umount said no, or what it said yes to is not there."""


def mounted(path: str, mounts: str) -> str | None:
    """Type of the file system that is on top at `path` by the text of /proc/self/mounts; None: nothing is."""
    found = [
        words[2]
        for line in mounts.splitlines()
        if len(words := line.split()) > 2 and _plain(words[1]) == path
    ]
    return found[-1] if found else None


def _plain(path: str) -> str:
    for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(escaped, character)
    return path


def _now() -> str:
    return Path("/proc/self/mounts").read_text()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def change(role: str, path: str, *, fstype: str, source: str, options: str, check: bool = False) -> bool:
    """Mount it where it is missing. Returns whether that changes anything. Raises MountFailed."""
    found = mounted(path, _now())
    if found == fstype:
        return False
    if found:
        raise MountFailed(
            f"{path}: expected {fstype} or nothing to be mounted there, found {found}: left alone"
        )
    if not Path(path).is_dir():
        raise MountFailed(f"{path}: there is no such folder to mount {fstype} on")
    if not check:
        state = State(role)
        state.note(KIND, path, None, {"fstype": fstype, "boot": _boot()})
        try:
            _run(["mount", "-t", fstype, *(["-o", options] if options else []), source, path])
        except MountFailed:
            state.forget(Change(KIND, path, None))
            raise
        if mounted(path, _now()) != fstype:
            raise MountFailed(
                f"{path}: mounted {fstype}, and found {mounted(path, _now()) or 'nothing'} there"
            )
    return True


def restore(change: Change, root: Path) -> str | None:
    """Unmount it if it is still what we mounted; None when done, else why not.

    After a reboot what is there was mounted by somebody else.
    """
    del root  # a mount is of this host
    if change.new["boot"] != _boot() or mounted(change.target, _now()) != change.new["fstype"]:
        return None
    try:
        _run(["umount", change.target])
    except MountFailed as error:
        return str(error)
    return None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise MountFailed(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
