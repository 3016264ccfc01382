"""Reads what the machine is: the provenance of a result.

Everything is read, nothing is set and nothing is guessed: what can't be read is null, and `unreadable` holds the
system's words for it. Left out on purpose: environment variables, the host's name (cut from the kernel command line
too), user names and the paths that hold them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labkit
from labkit.machine.cores import parse_list
from labkit.record.codec import encode
from labkit.record.provenance import (
    Clock,
    Cpu,
    Environment,
    HugepagePool,
    Kernel,
    Memory,
    Network,
    Power,
    SystemLoad,
    TopologyRef,
    Virtualisation,
)
from labkit.record.software import executables, libraries, packages, source

if TYPE_CHECKING:
    from labkit.lab.topology import Topology

FEATURES = frozenset(
    {"constant_tsc", "nonstop_tsc", "tsc_known_freq", "tsc_reliable", "rdtscp", "arat", "hypervisor"}
    | {"pcid", "invpcid", "avx2", "avx512f"}
)
"""CPU flags that bear on timing, on the cost of a system call, and on packet work."""

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
"""Files by which a container engine is known from within."""


class _Reader:
    """Reads files below `root` and keeps what the system said of those that it couldn't."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unreadable: dict[str, str] = {}

    def path(self, absolute: str) -> Path:
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        try:
            return self.path(absolute).read_text(errors="replace").strip()
        except OSError as e:
            self.unreadable[absolute] = os.strerror(e.errno) if e.errno else str(e)
            return None

    def integer(self, absolute: str) -> int | None:
        text = self.text(absolute)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            self.unreadable[absolute] = f"holds {text[:40]!r}, not a whole number"
            return None

    def names(self, absolute: str) -> list[str]:
        try:
            return sorted(p.name for p in self.path(absolute).iterdir())
        except OSError as e:
            self.unreadable[absolute] = os.strerror(e.errno) if e.errno else str(e)
            return []

    def chosen(self, absolute: str) -> str | None:
        """The word in brackets of "always [madvise] never"; the text where there are none."""
        text = self.text(absolute)
        if text is None:
            return None
        match = re.search(r"[\[(](\w+)[\])]", text)
        return match[1] if match else text


def collect(
    *,
    topologies: Iterable[Topology] = (),
    links: Mapping[str, object] | None = None,
    tools: Mapping[str, Path] | None = None,
    seed: int | None = None,
    parameters: Mapping[str, object] | None = None,
    root: Path = Path("/"),
) -> dict[str, Any]:
    """Read the machine; the JSON form of `Environment`, as `RunStore.set_environment` takes it.

    `links` are the facts that a Lab read back of its links, `tools` the executables that take part (name to file:
    the probe's), `parameters` all that steers the search. `root` is another file system to read (tests).
    Takes some 10 ms; the files' hashes are kept for the life of the process.
    """
    reader = _Reader(root)
    info = _cpuinfo(reader)
    flags = (info.get("flags") or info.get("Features") or "").split()
    record = Environment(
        collected=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_cpu(reader, info, flags),
        kernel=_kernel(reader),
        clock=_clock(reader, flags),
        power=_power(reader),
        memory=_memory(reader),
        virtualisation=_virtualisation(reader, flags),
        load=_load(reader),
        network=_network(reader, links or {}),
        privileged=os.geteuid() == 0 and _initial_user_namespace(reader),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        labkit=labkit.__version__,
        tools=(*executables(tools or {}, reader.unreadable), *libraries(), *packages()),
        source=source(reader.unreadable),
        topologies=tuple(TopologyRef(name=t.name, tier=t.tier.value, sha256=t.sha256) for t in topologies),
        seed=seed,
        parameters=parameters or {},
        host=_host(reader),
        unreadable=reader.unreadable,
    )
    encoded: dict[str, Any] = encode(record)
    return encoded


def _cpuinfo(reader: _Reader) -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    text = reader.text("/proc/cpuinfo") or ""
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cpu(reader: _Reader, info: Mapping[str, str], flags: list[str]) -> Cpu:
    base = "/sys/devices/system/cpu"
    online = reader.text(f"{base}/online")
    siblings = reader.text(f"{base}/cpu0/topology/thread_siblings_list")
    packages = {
        reader.text(f"{base}/{name}/topology/physical_package_id")
        for name in reader.names(base)
        if re.fullmatch(r"cpu\d+", name) and reader.path(f"{base}/{name}/topology").is_dir()
    }
    smt = reader.integer(f"{base}/smt/active")
    mitigations = f"{base}/vulnerabilities"
    identity = [info.get(k) for k in ("cpu family", "model", "stepping")]
    return Cpu(
        model=info.get("model name"),
        vendor=info.get("vendor_id") or info.get("CPU implementer"),
        family_model_stepping="/".join(filter(None, identity)) or None,
        microcode=info.get("microcode"),
        online=online,
        online_count=len(parse_list(online)) if online else None,
        threads_per_core=len(parse_list(siblings)) if siblings else None,
        sockets=len(packages) or None,
        smt_active=None if smt is None else smt == 1,
        l2_bytes=_cache_bytes(reader, 2),
        l3_bytes=_cache_bytes(reader, 3),
        isolated=reader.text(f"{base}/isolated"),
        nohz_full=reader.text(f"{base}/nohz_full"),
        features=tuple(sorted(FEATURES & set(flags))),
        mitigations={
            n: t for n in reader.names(mitigations) if (t := reader.text(f"{mitigations}/{n}")) is not None
        },
    )


def _cache_bytes(reader: _Reader, level: int) -> int | None:
    base = "/sys/devices/system/cpu/cpu0/cache"
    for name in reader.names(base):
        if name.startswith("index") and reader.integer(f"{base}/{name}/level") == level:
            match = re.fullmatch(r"(\d+)([KM]?)", reader.text(f"{base}/{name}/size") or "")
            if match:
                return int(match[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20}[match[2]]
    return None


def _kernel(reader: _Reader) -> Kernel:
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


def _clock(reader: _Reader, flags: list[str]) -> Clock:
    base = "/sys/devices/system/clocksource/clocksource0"
    return Clock(
        clocksource=reader.text(f"{base}/current_clocksource"),
        available=tuple((reader.text(f"{base}/available_clocksource") or "").split()),
        constant_tsc="constant_tsc" in flags if flags else None,
        nonstop_tsc="nonstop_tsc" in flags if flags else None,
        tsc_known_freq="tsc_known_freq" in flags if flags else None,
    )


def _power(reader: _Reader) -> Power:
    base = "/sys/devices/system/cpu"
    frequency = f"{base}/cpu0/cpufreq"
    policies = [n for n in reader.names(f"{base}/cpufreq") if n.startswith("policy")]
    idle = f"{base}/cpu0/cpuidle"
    states = reader.names(idle)
    return Power(
        frequency_driver=reader.text(f"{frequency}/scaling_driver"),
        governors=tuple(
            sorted(
                {
                    g
                    for n in policies
                    if (g := reader.text(f"{base}/cpufreq/{n}/scaling_governor")) is not None
                }
            )
        ),
        frequency_min_khz=reader.integer(f"{frequency}/scaling_min_freq"),
        frequency_max_khz=reader.integer(f"{frequency}/scaling_max_freq"),
        turbo=_turbo(reader),
        idle_driver=reader.text(f"{base}/cpuidle/current_driver"),
        idle_governor=reader.text(f"{base}/cpuidle/current_governor"),
        idle_states=tuple(n for s in states if (n := reader.text(f"{idle}/{s}/name")) is not None),
    )


def _turbo(reader: _Reader) -> bool | None:
    """intel_pstate says no_turbo, the others boost; null where neither exists."""
    off = reader.integer("/sys/devices/system/cpu/intel_pstate/no_turbo")
    if off is not None:
        return off == 0
    on = reader.integer("/sys/devices/system/cpu/cpufreq/boost")
    return None if on is None else on == 1


def _memory(reader: _Reader) -> Memory:
    text = reader.text("/proc/meminfo") or ""
    sizes = {k: int(kib) * 1024 for k, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    base = "/sys/kernel/mm/hugepages"
    pools = []
    for name in reader.names(base):
        if match := re.fullmatch(r"hugepages-(\d+)kB", name):
            total = reader.integer(f"{base}/{name}/nr_hugepages")
            free = reader.integer(f"{base}/{name}/free_hugepages")
            pools.append(HugepagePool(page_bytes=int(match[1]) * 1024, total=total, free=free))
    balancing = reader.integer("/proc/sys/kernel/numa_balancing")
    return Memory(
        total_bytes=sizes.get("MemTotal"),
        available_bytes=sizes.get("MemAvailable"),
        transparent_hugepages=reader.chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        hugepages=tuple(sorted(pools, key=lambda p: p.page_bytes)),
        numa_nodes=reader.text("/sys/devices/system/node/online"),
        numa_balancing=None if balancing is None else balancing != 0,
    )


def _virtualisation(reader: _Reader, flags: list[str]) -> Virtualisation:
    container = next((n for n in ("docker", "podman") if reader.path(CONTAINER_MARKS[n]).exists()), None)
    return Virtualisation(
        guest="hypervisor" in flags if platform.machine() == "x86_64" and flags else None,
        hypervisor=reader.text("/sys/hypervisor/type") or reader.text("/sys/class/dmi/id/product_name"),
        container=container,
    )


def _host(reader: _Reader) -> str | None:
    """The machine's id, hashed with a key of ours: machine-id(5) asks not to give away the id itself."""
    machine_id = reader.text("/etc/machine-id")
    if not machine_id or machine_id == "uninitialized":
        return None
    return hmac.new(machine_id.encode(), b"labkit results", hashlib.sha256).hexdigest()[:32]


def is_guest() -> bool | None:
    """Whether this is a virtual machine; None where that cannot be told."""
    reader = _Reader(Path("/"))
    info = _cpuinfo(reader)
    return _virtualisation(reader, (info.get("flags") or info.get("Features") or "").split()).guest


def _load(reader: _Reader) -> SystemLoad:
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


def _network(reader: _Reader, links: Mapping[str, object]) -> Network:
    return Network(
        sysctls={n.replace("/", "."): reader.text(f"/proc/sys/{n}") for n in SYSCTLS},
        irq_default_affinity=reader.text("/proc/irq/default_smp_affinity"),
        irqbalance_running=_runs(reader, "irqbalance"),
        links=links,
    )


def _runs(reader: _Reader, name: str) -> bool | None:
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


def _initial_user_namespace(reader: _Reader) -> bool:
    """The initial one maps all 2^32 - 1 ids onto themselves."""
    return (reader.text("/proc/self/uid_map") or "").split() == ["0", "0", "4294967295"]
