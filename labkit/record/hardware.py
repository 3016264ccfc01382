"""Reads the hardware part of the environment record: processor, clock, frequency and idle states, memory."""

from __future__ import annotations

import re
from collections.abc import Mapping

from labkit.machine.cores import parse_list
from labkit.record.provenance import Clock, Cpu, HugepagePool, Memory, Power
from labkit.record.reader import FactReader

FEATURES = frozenset(
    {"constant_tsc", "nonstop_tsc", "tsc_known_freq", "tsc_reliable", "rdtscp", "arat", "hypervisor"}
    | {"pcid", "invpcid", "avx2", "avx512f"}
)
"""CPU flags that bear on timing, on the cost of a system call, and on packet work."""


def cpuinfo(reader: FactReader) -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    text = reader.text("/proc/cpuinfo") or ""
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def flags(info: Mapping[str, str]) -> list[str]:
    """The processor's flags, by x86's name for them or by Arm's."""
    return (info.get("flags") or info.get("Features") or "").split()


def cpu(reader: FactReader, info: Mapping[str, str], flags: list[str]) -> Cpu:
    """The processor; `info` is its /proc/cpuinfo."""
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


def _cache_bytes(reader: FactReader, level: int) -> int | None:
    base = "/sys/devices/system/cpu/cpu0/cache"
    for name in reader.names(base):
        if name.startswith("index") and reader.integer(f"{base}/{name}/level") == level:
            match = re.fullmatch(r"(\d+)([KM]?)", reader.text(f"{base}/{name}/size") or "")
            if match:
                return int(match[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20}[match[2]]
    return None


def clock(reader: FactReader, flags: list[str]) -> Clock:
    """The clock source in use, and the processor's flags about the TSC."""
    base = "/sys/devices/system/clocksource/clocksource0"
    return Clock(
        clocksource=reader.text(f"{base}/current_clocksource"),
        available=tuple((reader.text(f"{base}/available_clocksource") or "").split()),
        constant_tsc="constant_tsc" in flags if flags else None,
        nonstop_tsc="nonstop_tsc" in flags if flags else None,
        tsc_known_freq="tsc_known_freq" in flags if flags else None,
    )


def power(reader: FactReader) -> Power:
    """Frequency and idle states: of CPU 0, the governors of all."""
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


def _turbo(reader: FactReader) -> bool | None:
    """By intel_pstate's no_turbo, else by the other drivers' boost; None where neither exists."""
    off = reader.integer("/sys/devices/system/cpu/intel_pstate/no_turbo")
    if off is not None:
        return off == 0
    on = reader.integer("/sys/devices/system/cpu/cpufreq/boost")
    return None if on is None else on == 1


def memory(reader: FactReader) -> Memory:
    """Sizes, and how it is paged."""
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
