"""Host checks of the role trex: the server that was asked for is whole, runs, answers, and others don't reach it."""

from __future__ import annotations

import json
import shlex

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.interfaces import resolved
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed, compare
from labkit.doctor.host.reader import CommandResult, HostReader, understood
from labkit.machine.roles import host_module

_PID = (
    "pid=$(systemctl show --property=MainPID --value {unit}); "
    "test 0$pid -gt 0 || {{ echo no server runs; exit 1; }}; "
)
_NO_PORTS = "trex_ports is empty: no server is started"


def _not_wanted(desired: Desired, *, ports: bool = True) -> NotApplicable | None:
    if not desired.text("trex_version"):
        return NotApplicable("trex_version is empty: no server is installed")
    return NotApplicable(_NO_PORTS) if ports and not desired["trex_ports"] else None


def _ask(reader: HostReader, name: str, command: str) -> CommandResult:
    """Run a command with the process of the server in `pid`."""
    unit = host_module("trex_unit").UNIT
    return reader.look(commands={name: _PID.format(unit=unit) + command}).commands[name]


def _api(what: str) -> str:
    unit = host_module("trex_unit")
    return f"python3 {unit.API_PATH} {what} --configuration {unit.CONFIGURATION_PATH} --timeout 10"


def _version(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired, ports=False):
        return unwanted
    version, folder = desired.text("trex_version"), desired.text("trex_dir")
    current, marker = f"{folder}/current", f"{folder}/{version}/{host_module('trees').MARKER}"
    facts = reader.look(files=(shlex.quote(marker),), links=(shlex.quote(current),))
    return compare(
        [
            (current, version, facts.target(current) or "missing"),
            ("archive with sha256", desired.text("trex_sha256"), facts.text(marker) or "missing"),
        ],
        f"{version} in {folder}",
    )


def _files(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired, ports=False):
        return unwanted
    place = f"{desired.text('trex_dir')}/{desired.text('trex_version')}"
    record = host_module("trees").RECORD
    command = f"cd {shlex.quote(place)} && sha256sum --check {record}"
    result = reader.look(commands={"files": command}).commands["files"]
    if result.code:
        return Failed(f"files in {place} as they were unpacked", result.out[:300])
    return Passed(", ".join(result.out.splitlines()))


def _unit(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    unit = host_module("trex_unit")
    facts = reader.look(
        files=(unit.DROP_IN_PATH,),
        commands={
            "unit": f"systemctl show {unit.UNIT} --property=UnitFileState,ActiveState",
            "started of": f"pid=$(systemctl show --property=MainPID --value {unit.UNIT}); "
            f"tr '\\0' '\\n' </proc/$pid/environ | grep '^{unit.STARTED_OF}='",
        },
    )
    found = dict(line.split("=", 1) for line in facts.commands["unit"].out.splitlines() if "=" in line)
    asked = [line for line in (facts.text(unit.DROP_IN_PATH) or "").splitlines() if unit.STARTED_OF in line]
    same = bool(asked) and asked[0] == f"Environment={facts.commands['started of'].out}"
    return compare(
        [
            ("unit file", "enabled", found.get("UnitFileState") or "missing"),
            ("unit", "active", found.get("ActiveState") or "missing"),
            (
                "started with",
                "the present configuration",
                "the present configuration" if same else "another one",
            ),
        ],
        f"{unit.UNIT} enabled and active",
    )


def _ports(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    path = host_module("trex_unit").CONFIGURATION_PATH
    text = reader.look(files=(path,)).text(path) or ""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith('"interfaces": ')]
    if not lines:
        return Failed(f"interfaces in {path}", "none")
    names = understood(path, lines[0].partition(": ")[2], json.loads)
    found = [_name(str(name)) for name in names]
    wanted = [
        str(host_module("pci").address(str(port["pci"])))
        if port.get("pci")
        else resolved(reader, str(port["interface"]))
        for port in desired["trex_ports"]
    ]
    wanted += [host_module("trex_config").NO_PORT] if len(wanted) % 2 else []
    return compare([("ports", ", ".join(wanted), ", ".join(found))], ", ".join(found))


def _name(entry: str) -> str:
    """Of a port in a configuration of TRex's."""
    return entry.partition("iface=")[2].partition(",")[0] if "iface=" in entry else entry


def _answers(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    version = desired.text("trex_version")
    result = _ask(reader, "api", f"nsenter --net=/proc/$pid/ns/net {_api('version')}")
    if result.code:
        return Failed(f"TRex {version} answers", result.out[:300])
    answer = understood("TRex's get_version", result.out, json.loads)
    return compare([("TRex", version, str(answer["version"]))], f"TRex {version} answers")


def _reach(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    result = _ask(
        reader,
        "reach",
        'if [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; '
        f"then echo filter && {_api('reach')}; "
        "else echo namespace && sed -e 1,2d -e 's/:.*//' /proc/$pid/net/dev; fi",
    )
    how, *found = result.out.split() or [""]
    if result.code or how not in ("filter", "namespace"):
        return Failed("TRex runs and is reached over loopback alone", result.out[:300] or "no answer")
    if how == "namespace":
        others = sorted(set(found) - {"lo"})
        return compare(
            [
                (
                    "its network namespace has",
                    "lo alone",
                    f"also {', '.join(others)}" if others else "lo alone",
                )
            ],
            "a network namespace of its own, with loopback alone",
        )
    return compare(
        [("others reach it at", "no address", ", ".join(found) or "no address")],
        "a filter lets loopback alone pass",
    )


HOST_CHECKS = (
    HostCheck(id="trex.version", text="the version of TRex that is asked for is installed", check=_version),
    HostCheck(id="trex.files", text="TRex's executable is as it was unpacked", check=_files),
    HostCheck(
        id="trex.unit", text="the unit is enabled and runs, with the present configuration", check=_unit
    ),
    HostCheck(id="trex.ports", text="the configuration has the ports that are asked for", check=_ports),
    HostCheck(id="trex.api", text="the server answers, and is of the version asked for", check=_answers),
    HostCheck(id="trex.reach", text="others than this host do not reach the server", check=_reach),
)
