"""Checks that depend on a NIC's driver, tried on the NICs of this machine where the doctor tries a veth."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from labkit.doctor.syscalls import attach_native, load_xdp_pass
from labkit.machine import fix, lock, nic_driver, onload_interfaces
from labkit.machine.process import parent

CHECKS = ("xdp_native", "af_xdp", "busy_poll", "onload_interface")
"""Ids of the doctor's checks."""
_NET = Path("/sys/class/net")


def findings(checks: Collection[str], interfaces: Sequence[str]) -> dict[str, dict[str, Any]]:
    """As the doctor's, by id, over all of these interfaces. Left out: what the doctor is to try on a veth.

    Native XDP is left out, too, while others measure here; without interfaces, all.
    """
    found: dict[str, dict[str, Any]] = {}
    if not interfaces:
        return found
    if "xdp_native" in checks:
        # Not beside a measurement of others, which a NIC that restarts would disturb. Whoever holds this machine for
        # us started this process.
        with suppress(lock.Busy), lock.measuring(wait_s=0.0, holds_for_us=_holder_above()):
            why = [reason for reason in map(refused, interfaces) if reason]
            found["xdp_native"] = _finding(
                "xdp_native",
                f"attached to {', '.join(interfaces)} in native mode and detached again",
                error="; ".join(why) or None,
                fix="a NIC whose driver has native XDP (i40e, ice, ixgbe, igc, mlx5, virtio_net and others); the "
                "backends kernel, af_packet and dpdk need none",
            )
    several = [name for name in interfaces if _queues(name) > 1]
    if "af_xdp" in checks and several:
        found["af_xdp"] = _finding(
            "af_xdp",
            "",
            error=f"{', '.join(several)} has several receive queues, and an AF_XDP socket receives from one",
            fix=fix.as_root(f"ethtool -L {several[0]} combined 1"),
        )
    if "onload_interface" in checks:
        found["onload_interface"] = _finding(
            "onload_interface",
            f"{', '.join(interfaces)} registered with Onload",
            error=onload_interfaces.unregistered(interfaces) or None,
            fix=f"openonload_interfaces: [{{name: {interfaces[0]}}}] in the inventory, then ansible-playbook "
            "ansible/site.yml",
        )
    if "busy_poll" in checks and "veth" not in map(_driver, interfaces):
        detail = "tried when a socket is opened: its proof says whether the NIC has a NAPI context to poll"
        found["busy_poll"] = _finding("busy_poll", detail)
    return found


@cache
def refused(interface: str) -> str | None:
    """Why no XDP program could be attached natively; None: one was, and was detached again.

    Once a process: many drivers restart the NIC for it.
    """
    try:
        program = load_xdp_pass()
        try:
            os.close(attach_native(program, interface))
        finally:
            os.close(program)
    except OSError as error:
        return f"{interface} (driver {_driver(interface)}): {error.strerror or error}"
    return None


def _holder_above() -> int | None:
    """The pid of who holds this machine, if this process descends from it."""
    holder, pid = lock.holder(), os.getpid()
    while holder is not None and pid > 1:
        if pid == holder.pid:
            return pid
        pid = parent(pid)
    return None


def _queues(interface: str) -> int:
    """How many receive queues are in use."""
    return len(list((_NET / interface / "queues").glob("rx-*")))


def _driver(interface: str) -> str:
    driver = nic_driver.driver(interface)
    return driver.name if driver else "unknown"


def _finding(name: str, detail: str, *, error: str | None = None, fix: str = "") -> dict[str, Any]:
    return {
        "id": name,
        "ok": error is None,
        "detail": "" if error else detail,
        "error": error,
        "fix": fix if error else None,
    }
