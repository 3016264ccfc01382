"""A DUT whose datapath is the probe in its reflector role: what the backends share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labkit.lab.live import Lab
from labkit.measure.proof import Proof

if TYPE_CHECKING:
    from labkit.probe.client import Probe

Judge = Callable[[Mapping[str, object], Mapping[str, float]], tuple[bool, str]]
"""From the engine's proof and the reflector's counters to (proven, claim)."""

Evidence = Callable[[], Mapping[str, object]]
"""Further facts of the proof, after it was judged."""


class OnProbe:
    """A DUT that is a probe: what all of them have."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def counters(self) -> Mapping[str, float]:
        """The reflector's counters since it started (frames; `cpu_ns` in nanoseconds)."""
        answer = self._probe.command("counters")
        return {
            k: float(v) for k, v in answer.items() if isinstance(v, int | float) and not isinstance(v, bool)
        }

    def check_alive(self) -> None:
        """Raise ToolFailed, with the probe's last words, if it has died."""
        self._probe.check_alive()

    @property
    def worker_tid(self) -> int:
        """Thread id of the worker, which moves the packets."""
        tid: int = self._probe.opened["worker_tid"]
        return tid


class ProbeDut(OnProbe):
    """A reflecting (one port) or forwarding (two ports) probe on the DUT's core."""

    def __init__(self, probe: Probe, judge: Judge, evidence: Evidence | None = None) -> None:
        super().__init__(probe)
        self._judge = judge
        self._evidence = evidence or dict

    def proof(self) -> Proof:
        """What the engine reads back from kernel or EAL now, after traffic, and whether its counters moved."""
        read_back = self._probe.command("proof")
        counters = self.counters()
        proven, claim = self._judge(read_back, counters)
        if not counters.get("rx_frames"):
            proven, claim = False, f"{claim}; but no frame was received"
        return Proof(
            proven=proven,
            claim=claim,
            evidence={**read_back, "counters": dict(counters), **self._evidence()},
        )


@contextmanager
def reflecting(
    lab: Lab,
    *,
    engine: str,
    ports: Sequence[Mapping[str, object]],
    judge: Judge,
    options: Mapping[str, object] | None = None,
    impair: Mapping[str, object] | None = None,
    wrapper: Sequence[str] = (),
    evidence: Evidence | None = None,
) -> Iterator[ProbeDut]:
    """Start a probe on the DUT and let it reflect (one port: addresses swapped; two: forwarded as they are).

    `wrapper`: see Probe. `evidence`: what else was read when it was judged.
    """
    from labkit.probe.client import Probe

    with Probe(
        engine,
        lab.dut_ports[0].host,
        core=lab.cores.dut,
        ports=ports,
        options=options or {},
        name="dut",
        wrapper=wrapper,
    ) as probe:
        arguments: dict[str, Any] = {"swap": "none" if len(ports) > 1 else "all"}
        if impair:
            arguments["impair"] = dict(impair)
        probe.command("reflect", **arguments)
        yield ProbeDut(probe, judge, evidence)


def interfaces(lab: Lab) -> list[dict[str, object]]:
    """The engine's `ports` argument for a DUT on network interfaces."""
    return [{"interface": port.interface} for port in lab.dut_ports]


def port_proofs(read_back: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The proof's part on each port."""
    ports = read_back.get("ports")
    return [port for port in ports if isinstance(port, Mapping)] if isinstance(ports, list) else []
