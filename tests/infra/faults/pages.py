"""Hugepages."""

from __future__ import annotations

import shlex

from labkit.doctor.host.desired import Desired

from .ways import Fault, cover, emptied, mode_back, mode_gone, uncover


def _pool(desired: Desired) -> str:
    """The file of the first pool."""
    pools = desired["hugepages_pools"]
    size_kib, node = (pools[0]["size_kib"], pools[0].get("node")) if pools else (2048, None)
    above = "/sys/kernel/mm/hugepages" if node is None else f"/sys/devices/system/node/node{node}/hugepages"
    return f"{above}/hugepages-{size_kib}kB/nr_hugepages"


def _mount(desired: Desired) -> str:
    mounts = desired["hugepages_mounts"]
    return shlex.quote(mounts[0]["path"]) if mounts else "/dev/hugepages"


PAGES = (
    Fault(check="hugepages.default_size", wants=lambda desired: {"hugepages_default_size_kib": 64}),
    # Laid over: pages that are given away may not be had again.
    Fault(
        check="hugepages.granted",
        inject=lambda desired: cover(_pool(desired), "1"),
        revert=lambda desired: uncover(_pool(desired)),
    ),
    emptied("hugepages.mounts", _mount, also=("hugepages.access",)),
    Fault(
        check="hugepages.mounts",
        inject=lambda desired: mode_gone(_mount(desired), "hugepages-mode"),
        revert=lambda desired: mode_back(_mount(desired), "hugepages-mode"),
        also=("hugepages.access",),
    ),
    Fault(
        check="hugepages.access",
        inject=lambda desired: mode_gone(_mount(desired), "hugepages-access"),
        revert=lambda desired: mode_back(_mount(desired), "hugepages-access"),
        also=("hugepages.mounts",),
    ),
)
