"""Watches a tool that measures the host: reads back its threads once they run, and the machine before and after."""

from __future__ import annotations

from dataclasses import dataclass, field

from labkit.errors import LabkitBug
from labkit.lowlatency import hostcores
from labkit.measure import noise
from labkit.measure.gate import Gate
from labkit.measure.hosttimes import guest_gate, switches_gate
from labkit.measure.noise import NoiseReading
from labkit.record import readings


@dataclass(slots=True)
class Watch:
    """Reads a tool's threads back once they run, and the machine then and afterwards."""

    cores: tuple[int, ...]
    policy: str
    threads: tuple[hostcores.ThreadFacts, ...] = ()
    locked_kib: int = 0
    before: NoiseReading | None = None
    intended: dict[str, int] = field(default_factory=dict)

    def start(self, pid: int) -> None:
        """The tool has been started."""
        self.threads = hostcores.workers(pid, len(self.cores), policy=self.policy)
        self.locked_kib = hostcores.locked_kib(pid)
        pairs = list(zip(self.threads, self.cores, strict=False))
        self.intended = {f"core {core}": core for core in self.cores}
        self.before = readings.read({f"core {core}": (thread.tid, core) for thread, core in pairs})

    def gates(self, *, switches: int, duration_s: float, guest: bool | None) -> tuple[Gate, ...]:
        """The gates of the time while the tool ran."""
        if self.before is None:
            raise LabkitBug("gates were asked for before the tool was started")
        after = readings.read({f"core {core}": (0, core) for core in self.cores})
        return (
            noise.steal_gate(self.before, after),
            noise.affinity_gate(self.before, intended=self.intended),
            noise.clock_gate(self.before, after),
            switches_gate(switches, duration_s=duration_s, limits=noise.DEFAULT_LIMITS),
            guest_gate(guest),
        )

    def evidence(self) -> dict[str, object]:
        """The threads, as read back from the kernel."""
        allowed = self.before.allowed_cores if self.before is not None else {}
        return {
            f"core {core}": f"{t.policy} {t.priority}, allowed on {list(allowed.get(f'core {core}', ()))}"
            for t, core in zip(self.threads, self.cores, strict=False)
        }
