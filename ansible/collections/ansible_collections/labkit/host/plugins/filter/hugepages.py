"""Filters for pools of hugepages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.labkit.host.plugins.module_utils import hugepages
from ansible_collections.labkit.host.plugins.plugin_utils import renamed


def arguments(pools: Sequence[Mapping[str, Any]], default_size_kib: int = 0) -> list[str]:
    """`hugepages_pools | labkit.host.hugepages_arguments` is the kernel arguments of those made at boot."""
    try:
        return hugepages.arguments(pools, int(default_size_kib))
    except (ValueError, KeyError, TypeError) as error:
        raise AnsibleFilterError(
            f"hugepages_pools: expected entries with size_kib and count: {error}"
        ) from error


def scoped(pools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`hugepages_pools | labkit.host.hugepages_scoped` has `scope` in the place of `when`, its old name; warns."""
    try:
        renamed.warn(pools)
        return renamed.scoped(pools)
    except TypeError as error:
        raise AnsibleFilterError(f"hugepages_pools: expected a list of mappings: {error}") from error


class FilterModule:
    """Names them to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"hugepages_arguments": arguments, "hugepages_scoped": scoped}
