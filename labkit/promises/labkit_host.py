"""What the role labkit_host promises: a user who may run the lab, and the packages that build and run the probe."""

from __future__ import annotations

import re
import shlex

from labkit.promises.desired import Desired
from labkit.promises.eyes import Eyes
from labkit.promises.model import Broken, Kept, NotApplicable, Outcome, Promise


def _user(eyes: Eyes, desired: Desired) -> Outcome:
    user, group = desired.text("labkit_host_user"), desired.text("labkit_host_group")
    if not user:
        return NotApplicable("labkit_host_user is empty: nobody is made")
    said = eyes.look(commands={"groups": f"id -nG {shlex.quote(user)}"}).commands["groups"]
    if said.code:
        return Broken(f"user {user} in group {group}", said.out)
    if group and group not in said.out.split():
        return Broken(f"{user} in group {group}", f"in {said.out}")
    return Kept(f"{user} in {said.out}")


def _sudo(eyes: Eyes, desired: Desired) -> Outcome:
    user = desired.text("labkit_host_user")
    if not desired["labkit_host_sudo"] or not user:
        return NotApplicable("labkit_host_sudo is off, or there is no labkit_host_user")
    # What sudo itself would let the user do, by all of its files together.
    said = eyes.look(commands={"sudo": f"sudo -l -U {shlex.quote(user)}"}).commands["sudo"]
    rules = re.findall(r"^\s+\(.*NOPASSWD:.*$", said.out, re.MULTILINE)
    if said.code or not rules:
        return Broken(f"{user} may use sudo without a password", said.out or "no rule")
    return Kept("; ".join(rule.strip() for rule in rules))


def packages(eyes: Eyes, names: list[str]) -> Outcome:
    """Whether each is installed; "a|b" means one of them."""
    wanted = [name for item in names for name in item.split("|")]
    quoted = " ".join(map(shlex.quote, wanted))
    command = (
        "if command -v dpkg-query >/dev/null; then dpkg-query --show "
        f"--showformat '${{Package}} ${{db:Status-Status}}\\n' {quoted} 2>/dev/null | sed -n 's/ installed$//p'; "
        f"else for name in {quoted}; do rpm -q --quiet --whatprovides $name && echo $name; done; fi; true"
    )
    there = set(eyes.look(commands={"packages": command}).commands["packages"].out.split())
    if missing := [item for item in names if not set(item.split("|")) & there]:
        return Broken(f"{len(names)} packages", f"not installed: {', '.join(missing)}")
    return Kept(f"{len(names)} packages")


def _packages(eyes: Eyes, desired: Desired) -> Outcome:
    names = [*desired["labkit_host_packages"]]
    names += desired["labkit_host_develop_packages"] if desired["labkit_host_develop"] else []
    return packages(eyes, names) if names else NotApplicable("no package is wanted")


PROMISES = (
    Promise(id="labkit_host.user", text="the lab's user is there and in its group", check=_user),
    Promise(id="labkit_host.sudo", text="that user may become root without a password", check=_sudo),
    Promise(id="labkit_host.packages", text="what builds and runs the probe is installed", check=_packages),
)
