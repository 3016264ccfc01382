"""Options of the inventory that have got another name: the old one still works, with a warning. On the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.utils.display import Display
from ansible_collections.labkit.host.plugins.plugin_utils.origin import place

REMOVED_IN = "0.3.0"


def deprecations(pools: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to write instead, for each entry of `hugepages_pools` that has `when`."""
    return [
        f"hugepages_pools[{at}].when is the old name of scope: write scope: {pool[key]}{place(key)}"
        for at, pool in enumerate(pools)
        for key in pool
        if key == "when"
    ]


def warn(pools: Sequence[Mapping[str, Any]]) -> None:
    """Print them, each once in a run."""
    for text in deprecations(pools):
        Display().deprecated(text, version=REMOVED_IN, collection_name="labkit.host")


def scoped(pools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries with `scope` in the place of `when`; one that has both is left as it is, and refused later."""
    return [
        {("scope" if key == "when" and "scope" not in pool else key): pool[key] for key in pool}
        for pool in pools
    ]
