"""TRex's server."""

from __future__ import annotations

import shlex

from labkit.doctor.host.desired import Desired
from labkit.machine.roles import host_module

from .ways import Fault, cover, covered, uncover

_UNIT = host_module("trex_unit").UNIT
_CONTROL = f"/run/systemd/system.control/{_UNIT}.d"
_PID = f"pid=$(systemctl show --property=MainPID --value {_UNIT})"
_RUNS_ALONE = '[ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/self/ns/net)" ]'


def _file(desired: Desired, name: str) -> str:
    return shlex.quote(f"{desired.text('trex_dir')}/{desired.text('trex_version')}/{name}")


def _reached(desired: Desired) -> str:
    """No filter any more, or an interface in its network namespace."""
    return (
        f"{_PID}; if {_RUNS_ALONE}; then nsenter --net=/proc/$pid/ns/net ip link add labkit-fault type dummy; "
        f"else systemctl set-property --runtime {_UNIT} IPAddressDeny=; fi"
    )


def _not_reached(desired: Desired) -> str:
    return (
        f"{_PID}; if {_RUNS_ALONE}; then nsenter --net=/proc/$pid/ns/net ip link del labkit-fault; "
        f"elif test -e {_CONTROL}; then systemctl set-property --runtime {_UNIT} IPAddressDeny=any; "
        f"rm -r {_CONTROL}; systemctl daemon-reload; fi"
    )


TREX = (
    Fault(
        check="trex.version",
        inject=lambda desired: cover(_file(desired, host_module("trees").MARKER), "0" * 64),
        revert=lambda desired: uncover(_file(desired, host_module("trees").MARKER)),
    ),
    Fault(
        check="trex.files",
        inject=lambda desired: cover(_file(desired, "_t-rex-64"), "half a file"),
        revert=lambda desired: uncover(_file(desired, "_t-rex-64")),
    ),
    Fault(
        check="trex.unit",
        inject=lambda desired: f"systemctl disable --quiet {_UNIT}",
        revert=lambda desired: f"systemctl enable --quiet {_UNIT}",
    ),
    Fault(
        check="trex.unit",
        inject=lambda desired: f"systemctl stop {_UNIT}",
        revert=lambda desired: f"systemctl start {_UNIT}",
        also=("trex.api", "trex.reach"),
    ),
    covered(
        "trex.ports", host_module("trex_unit").CONFIGURATION_PATH, '- "interfaces": ["another", "dummy"]'
    ),
    Fault(
        check="trex.api",
        inject=lambda desired: f"{_PID}; kill -STOP $pid",
        revert=lambda desired: f"{_PID}; test 0$pid -gt 0 && kill -CONT $pid",
    ),
    Fault(check="trex.reach", inject=_reached, revert=_not_reached),
)
