"""Onload: what is installed, what is loaded, and the interfaces that are registered."""

from __future__ import annotations

import json
import shlex

from labkit.doctor.host.desired import Desired
from labkit.machine.roles import host_module

from .ways import Fault, cover, covered, uncover

_STAMP = host_module("onload_install").STAMP
_NOTES = f"/{host_module('onload_register').NOTES}"
_PARAMETERS = "/sys/module/sfc_resource/parameters"


def _stamp(desired: Desired, **other: object) -> str:
    found = {"version": desired.text("openonload_version"), "sha256": desired.text("openonload_sha256")}
    return json.dumps({**found, "sfc": False, "kernels": {}, **other})


def _name(desired: Desired) -> str:
    """The first interface; nothing is injected without one, for the check is not applicable then."""
    return next((str(one["name"]) for one in desired["openonload_interfaces"]), "none")


def _unit(desired: Desired) -> str:
    return shlex.quote(str(host_module("onload_unit").unit(_name(desired))))


def _note(desired: Desired) -> str:
    return f"{_NOTES}/{_name(desired)}.json"


def _queues(desired: Desired) -> str:
    return f"$(readlink -f /sys/class/net/{_name(desired)}/queues)"


OPENONLOAD = (
    Fault(
        check="openonload.version",
        inject=lambda desired: cover(_STAMP, _stamp(desired, version="0.1")),
        revert=lambda desired: uncover(_STAMP),
        also=("openonload.modules",),
    ),
    Fault(
        check="openonload.modules",
        inject=lambda desired: cover(_STAMP, _stamp(desired)),
        revert=lambda desired: uncover(_STAMP),
    ),
    covered("openonload.loaded", "/sys/module/onload/srcversion", "0123456789ABCDEF0123456"),
    covered(
        "openonload.options",
        f"{_PARAMETERS}/enable_af_xdp_flow_filters",
        lambda desired: "0" if desired["openonload_flow_filters"] else "1",
    ),
    Fault(
        check="openonload.units",
        inject=lambda desired: f"systemctl disable --quiet {_unit(desired)}",
        revert=lambda desired: f"systemctl enable --quiet {_unit(desired)}",
    ),
    Fault(
        check="openonload.units",
        inject=lambda desired: f"systemctl stop {_unit(desired)}",
        revert=lambda desired: f"systemctl start {_unit(desired)}",
    ),
    Fault(
        check="openonload.registered",
        inject=lambda desired: cover(_note(desired), json.dumps({"module": 0, "generic": False})),
        revert=lambda desired: uncover(_note(desired)),
    ),
    Fault(
        check="openonload.queues",
        inject=lambda desired: (
            f"mount -t tmpfs labkit-fault {_queues(desired)} && "
            f"mkdir {_queues(desired)}/rx-0 {_queues(desired)}/rx-1"
        ),
        revert=lambda desired: (
            f'while grep -q "^labkit-fault {_queues(desired)} " /proc/mounts && '
            f"umount {_queues(desired)}; do :; done"
        ),
    ),
)
