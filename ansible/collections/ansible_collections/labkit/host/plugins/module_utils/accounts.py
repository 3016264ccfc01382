"""Groups, users and memberships that were added. One that was there before is never touched."""

from __future__ import annotations

import grp
import pwd
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from .programs import environment
from .state import Change, State

GROUP = "group"
USER = "user"
MEMBER = "member"
"""A user in a group; its target is USER:GROUP."""
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
"""What useradd(8) and groupadd(8) take."""


class AccountRefused(Exception):
    """Names that cannot be, or useradd and its kin said no."""


def add(
    role: str,
    *,
    groups: Sequence[str] = (),
    users: Sequence[str] = (),
    memberships: Sequence[str] = (),
    root: Path = Path("/"),
    check: bool = False,
) -> list[str]:
    """Add what is missing; returns that. Raises AccountRefused, before anything is changed for what cannot be."""
    _validate(groups, users, memberships, root)
    wanted = [(GROUP, name) for name in groups]
    wanted += [(USER, name) for name in users]
    wanted += [(MEMBER, name) for name in memberships]
    missing = [(kind, target) for kind, target in dict.fromkeys(wanted) if not there(kind, target, root)]
    for kind, target in missing if not check else ():
        _add(State(role, root), kind, target, root)
    return [f"{kind} {target}" for kind, target in missing]


def _validate(groups: Sequence[str], users: Sequence[str], memberships: Sequence[str], root: Path) -> None:
    for name in (*groups, *users):
        if not _NAME.fullmatch(name):
            raise AccountRefused(f"{name!r}: expected at most 32 of a-z, 0-9, - and _, and no digit first")
    for pair in memberships:
        user, colon, group = pair.partition(":")
        if not (user and colon and group):
            raise AccountRefused(f"{pair!r}: expected USER:GROUP")
        if user not in users and not there(USER, user, root):
            raise AccountRefused(f"{user}: this host has no such user, to be in the group {group}")
        if group not in groups and group not in _rows("group", root):
            # Also one of LDAP: it is not ours to change.
            raise AccountRefused(f"{group}: this host has no such group in /etc/group, for {user} to be in")


def _add(state: State, kind: str, target: str, root: Path) -> None:
    user, _, group = target.partition(":")
    # useradd makes no group that is there, be it one that was added just now.
    own = ["--gid", target] if there(GROUP, target, root) else ["--user-group"]
    command = {
        GROUP: ["groupadd", "--system", target],
        # Without a password: one logs in as this user with a key only.
        USER: ["useradd", "--create-home", *own, "--shell", "/bin/bash", target],
        MEMBER: ["gpasswd", "--add", user, group],
    }[kind]
    state.note(kind, target, _group_of_others(state, target, root) if kind == USER else None, None)
    try:
        _run(command, root)
    except AccountRefused:
        if not there(kind, target, root):
            state.forget(Change(kind, target, None))
        raise


def _group_of_others(state: State, user: str, root: Path) -> dict[str, str] | None:
    """The number of the group of that user's name, if it was there before us: userdel will take it along."""
    row = _rows("group", root).get(user)
    return {"gid": row[2]} if row and not state.noted(GROUP, user) else None


def there(kind: str, target: str, root: Path) -> bool:
    """Whether this host has that group, user or membership, from wherever."""
    if kind == GROUP:
        return target in _rows("group", root) or _known(grp.getgrnam, target, root)
    if kind == USER:
        return target in _rows("passwd", root) or _known(pwd.getpwnam, target, root)
    user, _, group = target.partition(":")
    row = _rows("group", root).get(group)
    own_gid = _rows("passwd", root).get(user, ["", "", "", ""])[3]
    return row is not None and (user in row[3].split(",") or row[2] == own_gid)


def _rows(file: str, root: Path) -> dict[str, list[str]]:
    """Lines of /etc/passwd or /etc/group by name; all begin with name, password and number."""
    lines = (root / "etc" / file).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return {words[0]: words for line in lines if len(words := line.split(":")) >= 4}


def _known(ask: Callable[[str], object], name: str, root: Path) -> bool:
    """Whether this host knows it from elsewhere, such as LDAP."""
    if root != Path("/"):
        return False
    try:
        ask(name)
    except KeyError:
        return False
    return True


def restore(change: Change, root: Path) -> str | None:
    """Remove what was added, a user's home with it; None when done, else why not."""
    try:
        reason = _remove(change, root) if there(change.kind, change.target, root) else None
        if reason is None and change.old and change.target not in _rows("group", root):
            _run(["groupadd", "--gid", change.old["gid"], change.target], root)
    except AccountRefused as error:
        return str(error)
    return reason


def _remove(change: Change, root: Path) -> str | None:
    user, _, group = change.target.partition(":")
    if change.kind == GROUP and (members := _rows("group", root)[change.target][3]):
        return f"others are in it by now: {members}"
    command = {
        GROUP: ["groupdel", change.target],
        USER: ["userdel", "--remove", change.target],
        MEMBER: ["gpasswd", "--delete", user, group],
    }[change.kind]
    _run(command, root)
    return None


def _run(command: Sequence[str], root: Path) -> None:
    line = [command[0], *(["--root", str(root)] if root != Path("/") else []), *command[1:]]
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=120, env=environment()
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise AccountRefused(f"{' '.join(line)}: {error}") from error
    if done.returncode:
        raise AccountRefused(f"{' '.join(line)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
