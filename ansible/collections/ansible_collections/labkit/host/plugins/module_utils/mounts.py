"""File systems that are mounted where they were missing, for this boot or at each."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import quote

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


def _now(process: str = "self") -> str:
    return Path(f"/proc/{process}/mounts").read_text(errors="surrogateescape")


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def change(
    role: str,
    path: str,
    *,
    fstype: str,
    source: str,
    options: str,
    persist: bool = False,
    check: bool = False,
) -> bool:
    """Mount it where it is missing. Returns whether that changes anything. Raises MountFailed.

    With `persist` it is mounted again at every boot, if it was we who mounted it.
    """
    found = mounted(path, _now())
    state = State(role)
    known = next((one for one in state.changes() if (one.kind, one.target) == (KIND, path)), None)
    new = {"fstype": fstype, "source": source, "options": options, "boot": _boot()}
    if found == fstype:
        if known is None or known.persist == persist:
            return False
        if not check:
            state.note(KIND, path, None, {**new, "boot": known.new["boot"]}, persist=persist)
        return True
    if found:
        raise MountFailed(
            f"{path}: expected {fstype} or nothing to be mounted there, found {found}: left alone"
        )
    if not Path(path).is_dir():
        raise MountFailed(f"{path}: there is no such folder to mount {fstype} on")
    if not check:
        state.note(KIND, path, None, new, persist=persist)
        try:
            _run(["mount", "-t", fstype, *(["-o", options] if options else []), source, path])
        except MountFailed:
            state.forget(Change(KIND, path, None))
            raise
        _must_be(path, fstype)
    return True


def _must_be(path: str, fstype: str, process: str = "self") -> None:
    if (found := mounted(path, _now(process))) != fstype:
        raise MountFailed(f"{path}: mounted {fstype}, and found {found or 'nothing'} there")


def again(change: Change, root: Path) -> None:
    """Mount it once more, after a boot. Raises MountFailed.

    By PID 1, and looked at as PID 1 sees it: what a unit with file systems of its own (ProtectSystem) mounts itself is
    seen by nobody else, and with a /dev of its own (PrivateDevices) it sees nothing of what is mounted in there.
    """
    wanted = change.new
    if mounted(change.target, _now("1")) == wanted["fstype"]:
        return
    marker = _marker(change.target, root)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    options = [f"--options={wanted['options']}"] if wanted["options"] else []
    kind = f"--type={wanted['fstype']}"
    _run(["systemd-mount", "--collect", "--fsck=no", kind, *options, wanted["source"], change.target])
    _must_be(change.target, wanted["fstype"], "1")


def _marker(path: str, root: Path) -> Path:
    """A file that says, until the next boot, that `again` mounted there."""
    return root / "run/labkit-host/mounts" / quote(path, safe="")


def restore(change: Change, root: Path) -> str | None:
    """Unmount it if it is still what we mounted in this boot; None when done, else why not."""
    ours = change.new["boot"] == _boot() or _marker(change.target, root).exists()
    if not ours or mounted(change.target, _now()) != change.new["fstype"]:
        return None
    try:
        _run(["umount", change.target])
    except MountFailed as error:
        return str(error)
    _marker(change.target, root).unlink(missing_ok=True)
    return None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise MountFailed(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
