"""What the user chose for a session of measuring."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """A run that several processes measure. Each stores what it measures; the controller ends the run."""

    name: str
    """Of the run's folder."""
    controller_pid: int
    """The process that ends the run. It has this machine reserved for all of them, where a lab is on it."""

    @property
    def ends_here(self) -> bool:
        """Whether this process ends it."""
        return os.getpid() == self.controller_pid


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose."""

    quick: bool = False
    rfc2544: bool = False
    tester_engine: str | None = None
    """None: the fastest for the link."""
    tester_option: str = "--labkit-tester"
    """The option that chose it, as the user spelt it."""
    trex_dir: str | None = None
    """Where the server of the tester trex is, as the user said; None: as LABKIT_TREX_DIR says."""
    trex_option: str = "--labkit-trex-dir"
    """The option that says so, as the user would spell it."""
    inventories: tuple[str, ...] = ()
    """Ansible inventories, by which the hosts of a topology are reached; none: as ssh knows them."""
    seed: int | None = None
    results: Path = Path("results")
    store: bool = True
    """False: nothing is written (`labkit trial`)."""
    shared: SharedRun | None = None
    """None: this process alone measures the run."""
    command: tuple[str, ...] = ()
    wait_s: float | None = 0.0
    """How long to wait while another process measures on this machine; None: without a limit."""
    listen_s: float = 0.0
    """How long the machine is observed before the first measurement."""
    retry_s: float = 0.0
    """Budget for repeating measurements that were invalid for a transient reason; recorded with the run."""
