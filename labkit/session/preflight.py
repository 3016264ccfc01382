"""Validates topologies before anything is created or measured on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from labkit.errors import ConfigInvalid, LabkitBug, Mistakes
from labkit.lab import cores, topology_file
from labkit.lab.topology import LinkKind, Tier, Topology
from labkit.session.datapaths import known_modes
from labkit.targets.file import load_targets


def load_checked(name_or_path: str | Path) -> Topology:
    """Read a topology, validate its cores against this machine, and read the target files that it names.

    Raises ConfigInvalid with all mistakes: otherwise a wrong line would be reported after minutes of measuring.
    """
    mistakes = Mistakes()
    lab_file: Topology | None = None
    with mistakes.noted():
        lab_file = topology_file.load(name_or_path)
    if lab_file is None:
        beside = topology_file.targets_beside(Path(name_or_path))
        with mistakes.noted():
            for path in beside:  # the tier is not known: take one that allows every metric
                load_targets(path, tier=Tier.HARDWARE)
        mistakes.check()
        raise LabkitBug(f"{name_or_path}: not read, and no mistake was noted")
    with mistakes.noted():
        # The cores of a lab on NICs are those of its hosts, which are asked later.
        if lab_file.tier is not Tier.SIMULATED and lab_file.links[0].kind is not LinkKind.NIC:
            cores.check(lab_file)
    for path in lab_file.targets:
        with mistakes.noted():
            load_targets(path, tier=lab_file.tier, modes=known_modes(lab_file))
    mistakes.check()
    return lab_file


def load_all(names_or_paths: Iterable[str | Path]) -> list[Topology]:
    """Read several, each once. Raises ConfigInvalid as `load_checked`, and for two with the same name.

    Rows of the results are distinguished by the name of their topology.
    """
    by_name: dict[str, Topology] = {}
    mistakes = Mistakes()
    for one in names_or_paths:
        with mistakes.noted():
            lab_file = load_checked(one)
            first = by_name.setdefault(lab_file.name, lab_file)
            if first.source.resolve() != lab_file.source.resolve():
                raise ConfigInvalid(
                    f"{lab_file.source}: another topology named {lab_file.name!r} is chosen already: {first.source}",
                    hint="rename one of them (its key name:, or the file itself)",
                )
    mistakes.check()
    return list(by_name.values())
