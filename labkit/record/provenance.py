"""The environment record: what the machine was when it was measured, as frozen types.

labkit.record.environment reads it. None is "could not be read" (`unreadable` says why), never a guess. As JSON it is
what labkit.record.codec makes of it, and nothing else: values typed `object` are JSON values already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processor, as the kernel sees it."""

    model: str | None
    vendor: str | None
    family_model_stepping: str | None
    microcode: str | None
    online: str | None
    """List of CPUs, as "0-7,9"."""
    online_count: int | None
    threads_per_core: int | None
    sockets: int | None
    smt_active: bool | None
    l2_bytes: int | None
    l3_bytes: int | None
    isolated: str | None
    nohz_full: str | None
    features: tuple[str, ...]
    """Those flags of /proc/cpuinfo that bear on timing and on packet work."""
    mitigations: Mapping[str, str]
    """/sys/devices/system/cpu/vulnerabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The running kernel."""

    release: str
    version: str
    machine: str
    cmdline: str | None
    preempt: str | None
    """The mode in brackets of /sys/kernel/debug/sched/preempt, else that of `uname -v`."""
    preempt_source: str | None
    realtime: bool
    hz: int | None
    distribution: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The clock source."""

    clocksource: str | None
    available: tuple[str, ...]
    constant_tsc: bool | None
    nonstop_tsc: bool | None
    tsc_known_freq: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Frequency and idle states."""

    frequency_driver: str | None
    governors: tuple[str, ...]
    """Those in use; more than one where the CPUs differ."""
    frequency_min_khz: int | None
    frequency_max_khz: int | None
    turbo: bool | None
    idle_driver: str | None
    idle_governor: str | None
    idle_states: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HugepagePool:
    """Hugepages of one size."""

    page_bytes: int
    total: int | None
    free: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory and how it is paged."""

    total_bytes: int | None
    available_bytes: int | None
    transparent_hugepages: str | None
    hugepages: tuple[HugepagePool, ...]
    numa_nodes: str | None
    numa_balancing: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtualisation:
    """Whether this is a guest."""

    guest: bool | None
    """The hypervisor flag of the CPU; None where the architecture has none."""
    hypervisor: str | None
    """/sys/hypervisor/type, else the DMI product."""
    container: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemLoad:
    """How busy the machine was when the record was made."""

    load_1min: float | None
    load_5min: float | None
    load_15min: float | None
    uptime_s: float | None
    steal_ratio: float | None
    """Share of all CPU time since boot that the hypervisor took away [1]."""
    cpu_pressure_avg10_percent: float | None
    """/proc/pressure/cpu, "some"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Settings of the stack and facts of the lab's links."""

    sysctls: Mapping[str, str | None]
    irq_default_affinity: str | None
    irqbalance_running: bool | None
    links: Mapping[str, object]
    """Read back from the live links by the lab: offloads, NAPI mode, qdisc, MTU, RPS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program or library with a hand in the figures."""

    name: str
    version: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The labkit checkout, where it is one."""

    commit: str | None
    dirty: bool | None
    """Whether tracked files differ from the commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyRef:
    """Which lab file."""

    name: str
    tier: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """All of it."""

    collected: str
    """UTC, ISO 8601."""
    cpu: Cpu
    kernel: Kernel
    clock: Clock
    power: Power
    memory: Memory
    virtualisation: Virtualisation
    load: SystemLoad
    network: Network
    privileged: bool
    """Effective user id 0 in the initial user namespace."""
    python: str
    labkit: str
    tools: tuple[Tool, ...]
    source: Checkout
    topologies: tuple[TopologyRef, ...]
    seed: int | None
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Full search and trial parameters of the run."""
    host: str | None = None
    """Shows whether two runs are of one host, and nothing else: the machine's id, hashed for labkit alone."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """What could not be read, with the system's error."""
    hosts: Mapping[str, object] = field(default_factory=dict)
    """Other machines that took part, by the names that topologies have for them: each as this record."""
