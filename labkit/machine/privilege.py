"""Root, or a user namespace of its own, in which labkit can make namespaces and links without root."""

from __future__ import annotations

import ctypes
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import EnvironmentBroken
from labkit.machine import fix, lacking

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_STATE = Path("/var/lib/labkit")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """What this process may do."""

    root: bool
    """May change the machine: hugepages, sysctls, other processes' cores."""
    rootless: bool
    """Root in a user namespace only: namespaces and links, not the machine."""
    why: str


_entered: Privileges | None = None


def ensure_privileges() -> Privileges:
    """Make sure that labs can be brought up; without root this process moves into a user namespace, for good.

    That is possible only while it has a single thread: call it early. Calling it again is free.

    Raises EnvironmentBroken with the setting that forbids user namespaces.
    """
    if _entered is not None:
        return _entered
    lacking.check()
    if capable():
        if _initial_user_namespace():
            return Privileges(root=True, rootless=False, why="root")
        _own_network_namespace()
        return Privileges(
            root=False, rootless=True, why="root of a user namespace that others made (a container?)"
        )
    _try_in_child()
    uid, gid = os.geteuid(), os.getegid()
    _enter_new(uid, gid)
    return _remember(f"uid {uid} in a user namespace of its own")


def join_user_namespace(pid: int) -> Privileges:
    """Move this process into the user namespace of a holder that runs under the same user, where it is not yet there.

    Raises EnvironmentBroken when that one is somebody else's, or this process has several threads.
    """
    theirs = Path(f"/proc/{pid}/ns/user")
    try:
        if theirs.stat().st_ino == Path("/proc/self/ns/user").stat().st_ino:
            return ensure_privileges()
        descriptor = os.open(theirs, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise EnvironmentBroken(
            f"entering the user namespace of process {pid} failed: {error.strerror}",
            hint="run it as the user who brought the lab up",
        ) from None
    try:
        _need_one_thread()
        _call("setns into the lab's user namespace", _libc.setns(descriptor, _CLONE_NEWUSER))
        _call("unshare of a network namespace", _libc.unshare(_CLONE_NEWNET))
    finally:
        os.close(descriptor)
    return _remember(f"in the user namespace of process {pid}")


def state_directory() -> Path:
    """Where the journal is kept: LABKIT_STATE_DIR, else /var/lib/labkit for root, else the user's state directory."""
    if chosen := os.environ.get("LABKIT_STATE_DIR"):
        return Path(chosen)
    if os.geteuid() == 0 and _entered is None and (_initial_user_namespace() or _may_write(_STATE)):
        return _STATE
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "labkit"
    if home := os.environ.get("HOME"):
        return Path(home) / ".local" / "state" / "labkit"
    raise EnvironmentBroken("no place for labkit's journal: HOME is not set", hint="set LABKIT_STATE_DIR")


def _may_write(folder: Path) -> bool:
    """Whether the folder can be made, or written to: root of a user namespace may not, outside a container."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(there, os.W_OK)


def _remember(why: str) -> Privileges:
    global _entered
    _entered = Privileges(root=False, rootless=True, why=why)
    return _entered


def _own_network_namespace() -> None:
    """Leave a network that is not ours (a container without root on the host's) for one of our own.

    A process that enters a lab's namespace from there could not return, and could change nothing.
    """
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(here, _CLONE_NEWNET) != 0:
            _call("unshare of a network namespace", _libc.unshare(_CLONE_NEWNET))
    finally:
        os.close(here)


def capable() -> bool:
    """Whether namespaces and links can be made without a user namespace of our own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return all(held >> cap & 1 for cap in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))
    return False


def _initial_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def _try_in_child() -> None:
    """Try it in another process first: a process that failed halfway could not go back."""
    argv = ["unshare", "--user", "--map-root-user", "--net", "--mount", "true"]
    try:
        tried = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EnvironmentBroken("unshare is not installed", hint=fix.packages("util-linux")) from None
    if tried.returncode != 0:
        lone = os.geteuid() == 0 and _initial_user_namespace()
        who = "root without CAP_SYS_ADMIN or CAP_NET_ADMIN" if lone else "not root"
        raise EnvironmentBroken(
            f"{who}, and user namespaces are refused: {tried.stderr.strip()}",
            hint=allow_user_namespaces() or fix.again_as_root(),
        )


def allow_user_namespaces() -> str | None:
    """The command that allows user namespaces, where a setting of the kernel forbids them."""
    wanted = []
    for setting, bad, good in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "10000"),
        ("user/max_net_namespaces", "0", "10000"),
        ("user/max_mnt_namespaces", "0", "10000"),
    ):
        path = Path("/proc/sys") / setting
        if path.exists() and path.read_text().strip() == bad:
            wanted.append(f"{setting.replace('/', '.')}={good}")
    return fix.as_root(f"sysctl -w {' '.join(wanted)}") if wanted else None


def _need_one_thread() -> None:
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise EnvironmentBroken(
            f"not root, and a process with {threads} threads cannot enter a user namespace",
            hint=f"call labkit.machine.privilege.ensure_privileges() before threads start, or: {fix.again_as_root()}",
        )


def _enter_new(uid: int, gid: int) -> None:
    _need_one_thread()
    _call("unshare of a user namespace", _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _call(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise EnvironmentBroken(
            f"{what}: {os.strerror(number)}", hint=allow_user_namespaces() or fix.again_as_root()
        )
