"""What the role replay promises: what the kernel forgets at a boot is made again, and was."""

from __future__ import annotations

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.model import Broken, Kept, NotApplicable, Outcome, Promise
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
    said = reader.look(commands=_COMMANDS).commands
    if said["init"].code:
        return NotApplicable("systemd does not run here")
    if said["persisted"].code:
        return NotApplicable("nothing on this host has to be made again at boot")
    found = dict(line.split("=", 1) for line in said["unit"].out.splitlines() if "=" in line)
    told = ", ".join(f"{name} {found.get(name, '?')}" for name in ("UnitFileState", "Result", "ActiveState"))
    if found.get("UnitFileState") != "enabled":
        return Broken(f"{UNIT} enabled", told)
    if found.get("Result") != "success" or found.get("ActiveState") in ("failed", "activating"):
        return Broken(f"{UNIT} ended well", told)
    return Kept(told)


PROMISES = (
    Promise(
        id="replay.unit", text="settings are made again at every boot, and were at the last", check=_unit
    ),
)
