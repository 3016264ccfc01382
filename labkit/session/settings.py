"""What the user chose for a session of measuring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose."""

    quick: bool = False
    rfc2544: bool = False
    tester_engine: str | None = None
    """None: the fastest for the link."""
    tester_option: str = "--labkit-tester"
    """The option that chose it, as the user spelt it."""
    inventories: tuple[str, ...] = ()
    """Ansible inventories, by which the hosts of a topology are reached; none: as ssh knows them."""
    seed: int | None = None
    results: Path = Path("results")
    store: bool = True
    """False: nothing is written (`labkit trial`)."""
    command: tuple[str, ...] = ()
    wait_s: float | None = 0.0
    """How long to wait while another process measures on this machine; None: without a limit."""
    listen_s: float = 0.0
    """How long the machine is observed before the first measurement."""
    retry_s: float = 0.0
    """Budget for repeating measurements that were invalid for a transient reason; recorded with the run."""
