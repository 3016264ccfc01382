"""Gates: checks of whether a figure can be trusted, and which figures they apply to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from labkit.units import parse_load


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One check of whether a figure can be trusted."""

    name: str
    """proof, steal, contention, affinity, clock, unsent, offered, stall, switches, link, pause, pcie, numa,
    crc-errors, rx-missed, stability, stability-ndr, max-offered-load, base-ndr, base-pdr, base-mrr; of the host itself
    also guest, beyond, omitted."""
    state: str
    """ok, warn or invalid."""
    value: str
    limit: str
    why: str


GATE_SCOPE: Mapping[str, frozenset[str]] = {"stability-ndr": frozenset({"ndr"})}
"""Gates that invalidate some metrics only; any other invalidates all."""

MAX_OFFERED_LOAD = "max-offered-load"
BASE = "base-"
"""Begins the names of the gates of loads that are relative to a rate; the rate follows."""

PASSING = frozenset(
    {
        *("steal", "contention", "clock", "unsent", "offered", "stability", "stability-ndr"),
        *(f"{BASE}{rate}" for rate in ("ndr", "pdr", "mrr")),
    }
)
"""Gates whose reason can be temporary: what they made invalid is worth another attempt. A mode that is not proven, or
workers that share a core, will be the same in the next attempt."""


def invalid_for(gates: Iterable[Gate], metric: str) -> list[Gate]:
    """The gates that make this metric (as targets name it) invalid."""
    return [g for g in gates if g.state == "invalid" and metric in GATE_SCOPE.get(g.name, {metric})]


def concerns(gate: Gate, load: str) -> bool:
    """Whether it says anything of a latency at this load: an invalid PDR says nothing of "10 kpps" or "50% NDR"."""
    return not gate.name.startswith(BASE) or gate.name == f"{BASE}{parse_load(load).of}".lower()


def limit_is_unsure(gates: Iterable[Gate]) -> bool:
    """Whether a disturbed maximum offered load decided whose limit the rates show."""
    return any(gate.name == MAX_OFFERED_LOAD and gate.state == "warn" for gate in gates)


def state_of(value: float, *, warn: float, invalid: float) -> str:
    """The state of a gate for which larger values are worse."""
    return "invalid" if value > invalid else "warn" if value > warn else "ok"
