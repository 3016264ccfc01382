"""Host checks of the role replay: settings that a boot resets are applied again by a unit."""

from __future__ import annotations

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, Passed
from labkit.doctor.host.reader import HostReader

UNIT = "labkit-host.service"
_COMMANDS = {
    "init": "test -d /run/systemd/system",
    "persisted": "grep -l '\"persist\": true' /var/lib/labkit/state/*.json",
    "unit": f"systemctl show {UNIT} --property=UnitFileState,Result,ActiveState,ExecMainStatus",
}


def _unit(reader: HostReader, desired: Desired) -> Outcome:
    if not desired["replay_enabled"]:
        return NotApplicable("replay_enabled is off")
    results = reader.look(commands=_COMMANDS).commands
    if results["init"].code:
        return NotApplicable("systemd does not run on this host")
    if results["persisted"].code:
        return NotApplicable("no setting on this host has to be applied at boot")
    found = dict(line.split("=", 1) for line in results["unit"].out.splitlines() if "=" in line)
    state = ", ".join(f"{name} {found.get(name, '?')}" for name in ("UnitFileState", "Result", "ActiveState"))
    if found.get("UnitFileState") != "enabled":
        return Failed(f"{UNIT} enabled", state)
    if found.get("Result") != "success" or found.get("ActiveState") in ("failed", "activating"):
        return Failed(f"{UNIT} succeeded", state)
    return Passed(state)


HOST_CHECKS = (
    HostCheck(
        id="replay.unit", text="the unit that applies settings at boot is enabled and succeeded", check=_unit
    ),
)
