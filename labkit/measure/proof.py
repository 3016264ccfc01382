"""What shows that traffic really took a datapath. Without it a measurement is invalid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A claim about the datapath, with what was read back to show it."""

    proven: bool
    claim: str
    """What is claimed, e.g. "AF_XDP socket bound in copy mode to queue 0"."""
    evidence: Mapping[str, object]
    """What was read back, by where it was read."""
