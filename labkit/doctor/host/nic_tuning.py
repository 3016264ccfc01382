"""Host checks of the role nic_tuning: the configured settings of interfaces are in effect."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.interfaces import differences
from labkit.doctor.host.model import HostCheck, NotApplicable, Outcome, compare
from labkit.doctor.host.reader import HostReader

GROUPS = {
    "rings": "rings are as long as wanted",
    "coalescing": "interrupts are moderated as wanted",
    "features": "offloads are on or off as wanted",
    "pause": "pause frames are used as wanted",
    "channels": "there are as many channels as wanted",
    "rss": "packets are spread over queues as wanted",
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
