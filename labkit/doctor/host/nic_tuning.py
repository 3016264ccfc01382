"""Host checks of the role nic_tuning: the configured settings of interfaces are in effect."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.interfaces import differences
from labkit.doctor.host.model import HostCheck, NotApplicable, Outcome, compare
from labkit.doctor.host.reader import HostReader

GROUPS = {
    "rings": "ring sizes are as configured",
    "coalescing": "interrupt coalescing is as configured",
    "features": "offload features are as configured",
    "pause": "pause frames are as configured",
    "channels": "the numbers of channels are as configured",
    "rss": "RSS spreads packets over queues as configured",
}


def _in_effect(reader: HostReader, desired: Desired, *, group: str) -> Outcome:
    wanted = {one["name"]: {group: one[group]} for one in desired["nic_tuning_interfaces"] if one.get(group)}
    if not wanted:
        return NotApplicable(f"nic_tuning_interfaces asks for no {group}")
    found = differences(reader, wanted)
    return compare(found, ", ".join(f"{what} {value}" for what, _, value in found))


def _check(group: str) -> Callable[[HostReader, Desired], Outcome]:
    return partial(_in_effect, group=group)


HOST_CHECKS = tuple(
    HostCheck(id=f"nic_tuning.{group}", text=text, check=_check(group)) for group, text in GROUPS.items()
)
