"""All that can be found wrong with a lab file before anything is made or measured on this machine."""

from __future__ import annotations

from pathlib import Path

from labkit import cores, topology
from labkit.targets_file import load_targets
from labkit.topology import Tier, Topology


def load_checked(name_or_path: str | Path) -> Topology:
    """Read a topology, hold its cores against this machine's, and read the files of targets that it names.

    Raises ConfigInvalid: otherwise a wrong line would be told only once minutes of measuring are over.
    """
    lab_file = topology.load(name_or_path)
    if lab_file.tier is not Tier.SIMULATED:
        cores.check(lab_file)
    for path in lab_file.targets:
        load_targets(path, tier=lab_file.tier)
    return lab_file
