"""Which labs may be measured side by side: those that share no machine. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from labkit.lab.topology import HERE


def groups(machines: Mapping[str, Collection[str]]) -> list[frozenset[str]]:
    """Labs that share a machine, directly or by way of others, are one group: measured one after the other.

    `machines`: by lab, those that it takes (HERE and others). A lab that takes none is a simulated one: it is a group
    of its own, except beside a lab on this machine, whose cores it would use.
    """
    found: list[tuple[set[str], set[str]]] = []
    """Labs, and the machines of all of them."""
    here_counts = any(HERE in taken for taken in machines.values())
    for lab, named in machines.items():
        labs, taken = {lab}, set(named) or ({HERE} if here_counts else set())
        for group in [one for one in found if one[1] & taken]:
            found.remove(group)
            labs |= group[0]
            taken |= group[1]
        found.append((labs, taken))
    return [frozenset(labs) for labs, _ in found]
