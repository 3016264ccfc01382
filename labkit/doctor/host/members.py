"""Commands that try, as an ordinary user, what a role grants to a user or group. They run as root and write nothing."""

from __future__ import annotations

import shlex

from labkit.units import parse_whole

_NOBODY = 65534
"""The overflow user: owns nothing, so what it may do as a member of a group is what the group may do."""


def attempt(test: str, *, user: str, group: str) -> str:
    """Shell command: `test` as `user`, where there is none as nobody who is only in `group`, without both as root."""
    command = shlex.quote(test)
    if user:
        who = shlex.quote(user)
        return f'setpriv --reuid="$(id -u {who})" --regid="$(id -g {who})" --init-groups sh -c {command}'
    if not group:
        return f"sh -c {command}"
    gid = f'"$(getent group {shlex.quote(group)} | cut -d: -f3)"'
    return f"setpriv --reuid={_NOBODY} --regid={gid} --clear-groups sh -c {command}"


def memlock(group: str) -> str:
    """Shell command: the limit of locked memory [KiB] that a login of the group's first member gets.

    By way of su, since limits come from PAM at login. Prints "nobody" where the group has no member.
    """
    member = f'"$(getent group {shlex.quote(group)} | cut -d: -f4 | cut -d, -f1)"'
    return f'who={member}; if [ -n "$who" ]; then su -s /bin/sh -c "ulimit -l" "$who"; else echo nobody; fi'


def enough(limit_kib: str, wanted_kib: str) -> bool:
    """Whether a limit as `ulimit` prints it allows as much."""
    if limit_kib == "unlimited":
        return True
    limit, wanted = parse_whole(limit_kib), parse_whole(wanted_kib)
    return limit is not None and wanted is not None and limit >= wanted
