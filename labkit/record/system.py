"""Reads the system part of the environment record: kernel, virtualisation, load, network settings, which host it is."""

from __future__ import annotations

import hashlib
import hmac
import os
import platform
import re
from collections.abc import Mapping

from labkit.record.provenance import Kernel, Network, SystemLoad, Virtualisation
from labkit.record.reader import FactReader

SYSCTLS = (
    "net/core/busy_poll",
    "net/core/busy_read",
    "net/core/netdev_budget",
    "net/core/netdev_max_backlog",
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/rps_sock_flow_entries",
    "net/core/bpf_jit_enable",
    "kernel/sched_rt_runtime_us",
    "kernel/timer_migration",
    "kernel/nmi_watchdog",
    "kernel/randomize_va_space",
)

CONTAINER_MARKS = {"docker": "/.dockerenv", "podman": "/run/.containerenv"}
"""Files by which a container engine is recognised from within."""


def kernel(reader: FactReader) -> Kernel:
    """The running kernel and its command line, without the host's name."""
    name = os.uname()
    debug = "/sys/kernel/debug/sched/preempt"
    preempt, source = reader.chosen(debug), debug
    if preempt is None:
        match = re.search(r"PREEMPT\w*", name.version)
        preempt, source = (match[0] if match else None), "uname -v"
    cmdline = reader.text("/proc/cmdline")
    if cmdline:
        cmdline = re.split(r"\s--(?:\s|$)", cmdline)[0]  # the rest is for init
    if cmdline and len(name.nodename) > 2:
        cmdline = re.sub(rf"(?<![\w-]){re.escape(name.nodename)}(?![\w-])", "<host>", cmdline)
    config = reader.text(f"/boot/config-{name.release}") or ""
    hz = re.search(r"^CONFIG_HZ=(\d+)$", config, re.MULTILINE)
    release = dict(line.partition("=")[::2] for line in (reader.text("/etc/os-release") or "").splitlines())
    realtime = reader.path("/sys/kernel/realtime")
    return Kernel(
        release=name.release,
        version=name.version,
        machine=name.machine,
        cmdline=cmdline,
        preempt=preempt,
        preempt_source=source if preempt else None,
        realtime="PREEMPT_RT" in name.version
        or (realtime.exists() and reader.integer("/sys/kernel/realtime") == 1),
        hz=int(hz[1]) if hz else None,
        distribution=release.get("PRETTY_NAME", "").strip('"') or None,
    )


def virtualisation(reader: FactReader, flags: list[str]) -> Virtualisation:
    """Guest and container, by the processor's flags and the files that they are known by."""
    container = next((n for n in ("docker", "podman") if reader.path(CONTAINER_MARKS[n]).exists()), None)
    return Virtualisation(
        guest="hypervisor" in flags if platform.machine() == "x86_64" and flags else None,
        hypervisor=reader.text("/sys/hypervisor/type") or reader.text("/sys/class/dmi/id/product_name"),
        container=container,
    )


def host_hash(reader: FactReader) -> str | None:
    """The machine's id, hashed with a key of ours: machine-id(5) asks not to give away the id itself."""
    machine_id = reader.text("/etc/machine-id")
    if not machine_id or machine_id == "uninitialized":
        return None
    return hmac.new(machine_id.encode(), b"labkit results", hashlib.sha256).hexdigest()[:32]


def load(reader: FactReader) -> SystemLoad:
    """How busy the machine is now."""
    averages = [float(x) for x in (reader.text("/proc/loadavg") or "").split()[:3]]
    one, five, fifteen = averages if len(averages) == 3 else (None, None, None)
    uptime = (reader.text("/proc/uptime") or "").split()
    ticks = [int(x) for x in (reader.text("/proc/stat") or "").partition("\n")[0].split()[1:9]]
    pressure = re.search(r"some avg10=([\d.]+)", reader.text("/proc/pressure/cpu") or "")
    return SystemLoad(
        load_1min=one,
        load_5min=five,
        load_15min=fifteen,
        uptime_s=float(uptime[0]) if uptime else None,
        steal_ratio=ticks[7] / sum(ticks) if len(ticks) == 8 and any(ticks) else None,
        cpu_pressure_avg10_percent=float(pressure[1]) if pressure else None,
    )


def network(reader: FactReader, links: Mapping[str, object]) -> Network:
    """Settings of the stack, beside the facts of the links."""
    return Network(
        sysctls={n.replace("/", "."): reader.text(f"/proc/sys/{n}") for n in SYSCTLS},
        irq_default_affinity=reader.text("/proc/irq/default_smp_affinity"),
        irqbalance_running=_runs(reader, "irqbalance"),
        links=links,
    )


def _runs(reader: FactReader, name: str) -> bool | None:
    pids = [n for n in reader.names("/proc") if n.isdigit()]
    if not pids:
        return None
    for pid in pids:
        try:
            if reader.path(f"/proc/{pid}/comm").read_text().strip() == name:
                return True
        except OSError:
            continue  # ended between listing and reading
    return False


def in_initial_user_namespace(reader: FactReader) -> bool:
    """Whether this process is: the initial one maps all 2^32 - 1 ids onto themselves."""
    return (reader.text("/proc/self/uid_map") or "").split() == ["0", "0", "4294967295"]
