"""Host checks of the role labkit_host: the lab's user, and the packages that build and run the probe."""

from __future__ import annotations

import re
import shlex

import labkit
from labkit.doctor.host import members
from labkit.doctor.host.desired import Desired
from labkit.doctor.host.installed import packages
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed
from labkit.doctor.host.reader import HostReader
from labkit.machine import sources

_OPEN = '{"id": 1, "cmd": "open", "core": null, "ports": [{"interface": "lo"}], "options": {}}'
_HELLO = '{"id": 1, "cmd": "hello"}'
"""See labkit/machine/program.py."""
_QUIT = '{"id": 2, "cmd": "quit"}'
"""See labkit/probe/PROTOCOL.md."""


def _user(reader: HostReader, desired: Desired) -> Outcome:
    user, group = desired.text("labkit_host_user"), desired.text("labkit_host_group")
    if not user:
        return NotApplicable("labkit_host_user is empty: no user is created")
    result = reader.look(commands={"groups": f"id -nG {shlex.quote(user)}"}).commands["groups"]
    if result.code:
        return Failed(f"user {user} in group {group}", result.out)
    if group and group not in result.out.split():
        return Failed(f"{user} in group {group}", f"in {result.out}")
    return Passed(f"{user} in {result.out}")


def _sudo(reader: HostReader, desired: Desired) -> Outcome:
    user = desired.text("labkit_host_user")
    if not desired["labkit_host_sudo"] or not user:
        return NotApplicable("labkit_host_sudo is off, or there is no labkit_host_user")
    commands = [str(command) for command in desired["labkit_host_sudo_commands"]]
    # What sudo itself reports for the user, from all of its files.
    result = reader.look(commands={"sudo": f"sudo -l -U {shlex.quote(user)}"}).commands["sudo"]
    refused = [command for command in commands if not _may(command, result.out)]
    if result.code or refused:
        rules = re.findall(r"^\s+(\(.*)$", result.out, re.MULTILINE)
        return Failed(
            f"{user} may run {', '.join(refused or commands)} as root without a password",
            "; ".join(rules) or result.out or "no rule",
        )
    return Passed(f"{user} may run {', '.join(commands)} as root")


def _may(command: str, listing: str) -> bool:
    """Whether sudo's listing lets this command be run without a password: the last rule that matches counts."""
    allowed = False
    for rule in re.findall(r"^\s+\([^)]*\)\s*(.*)$", listing, re.MULTILINE):
        password = True
        for item in rule.split(", "):
            *tags, name = item.split(": ")
            password = _asks(tags, password)
            if name.lstrip("!").strip() in (command, "ALL"):
                allowed = not name.startswith("!") and not password
    return allowed


def _asks(tags: list[str], before: bool) -> bool:
    """Whether sudo asks for a password: a tag applies to the rest of its rule."""
    return False if "NOPASSWD" in tags else True if "PASSWD" in tags else before


def _probe(reader: HostReader, desired: Desired) -> Outcome:
    if not desired["labkit_host_build"]:
        return NotApplicable("labkit_host_build is off: the probe is not built")
    user, group = _runner(desired)
    # Each engine is started, and asked to quit.
    test = f"""for engine in {_engines(desired)}; do echo '{_QUIT}' | "$engine"; echo "$engine $?"; done"""
    result = reader.look(commands={"probe": members.attempt(test, user=user, group=group)}).commands["probe"]
    ends = dict(re.findall(r"^\S*/labkit-probe-(\w+) (\d+)$", result.out, re.MULTILINE))
    who = user or (f"group {group}" if group else "root")
    if not ends or set(ends.values()) != {"0"}:
        return Failed(f"{who} may run the probe", result.out[:200] or "no probe is built")
    return Passed(f"{who} may run {', '.join(sorted(ends))}")


def _runner(desired: Desired) -> tuple[str, str]:
    """User and group who run the probe; the role creates the group for one of the two only."""
    user = desired.text("labkit_host_user")
    return user, desired.text("labkit_host_group") if user or desired["labkit_host_capabilities"] else ""


def _engines(desired: Desired, engine: str = "*") -> str:
    return f"{shlex.quote(desired.text('labkit_host_probe_dir'))}/*/labkit-probe-{engine}"


def _capabilities(reader: HostReader, desired: Desired) -> Outcome:
    if not desired["labkit_host_build"] or not desired["labkit_host_capabilities"]:
        return NotApplicable("labkit_host_build or labkit_host_capabilities is off")
    user, group = _runner(desired)
    wanted = desired["labkit_host_engine_capabilities"]
    commands = {
        engine: f"for file in {_engines(desired, engine)}; do if test -e $file; then "
        f"setcap -q -v {shlex.quote(f'{names}=ep')} $file || exit 1; fi; done"
        for engine, names in wanted.items()
    }
    # The kernel may disregard what a file has (nosuid): the af_packet engine opens a raw socket, on loopback.
    engines = _engines(desired, "af_packet")
    test = f"""for engine in {engines}; do printf '%s\\n' '{_OPEN}' '{_QUIT}' | "$engine"; done"""
    commands["raw socket"] = members.attempt(test, user=user, group=group)
    results = reader.look(commands=commands).commands
    if lacking := [engine for engine in wanted if results[engine].code]:
        return Failed(
            "; ".join(f"{engine} has {wanted[engine]}" for engine in lacking),
            "; ".join(results[engine].out or f"{engine} has none" for engine in lacking),
        )
    if not re.search(r'"id":\s*1,\s*"ok":\s*true', results["raw socket"].out):
        return Failed(f"{user or f'group {group}'} may open a raw socket", results["raw socket"].out[:300])
    return Passed(", ".join(wanted))


def _labkit(reader: HostReader, desired: Desired) -> Outcome:
    if not desired["labkit_host_install"]:
        return NotApplicable("labkit_host_install is off: labkit is not installed there")
    command = desired.text("labkit_host_command")
    # As a controller asks it before a run.
    asked = f"""printf '%s\\n' '{_HELLO}' '{_QUIT}' | {command} agent"""
    result = reader.look(commands={"labkit": asked}).commands["labkit"]
    found = re.search(r'"labkit": "([^"]+)", "sources": "([^"]+)"', result.out)
    here = f"labkit {labkit.__version__} with the files that are here ({sources.digest()})"
    if found is None:
        return Failed(here, result.out[:300] or f"{command} printed nothing")
    if found.groups() != (labkit.__version__, sources.digest()):
        return Failed(here, f"labkit {found.group(1)} with other files ({found.group(2)})")
    return Passed(f"labkit {found.group(1)}, files as here ({found.group(2)})")


def _packages(reader: HostReader, desired: Desired) -> Outcome:
    names = [*desired["labkit_host_packages"]]
    names += desired["labkit_host_develop_packages"] if desired["labkit_host_develop"] else []
    return packages(reader, names) if names else NotApplicable("no package is configured")


HOST_CHECKS = (
    HostCheck(id="labkit_host.user", text="the lab's user exists and is in its group", check=_user),
    HostCheck(
        id="labkit_host.sudo", text="the lab's user may run labkit as root without a password", check=_sudo
    ),
    HostCheck(id="labkit_host.probe", text="the probe is built and starts", check=_probe),
    HostCheck(
        id="labkit_host.capabilities",
        text="members of the group can open NICs with the probe, without root",
        check=_capabilities,
    ),
    HostCheck(id="labkit_host.labkit", text="labkit is installed there, the same as here", check=_labkit),
    HostCheck(
        id="labkit_host.packages",
        text="the packages that build and run the probe are installed",
        check=_packages,
    ),
)
