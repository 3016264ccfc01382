"""Filters for lists of cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.labkit.host.plugins.module_utils import cpus


def rest(isolated: str | int, present: str | int) -> str:
    """`"1-3" | labkit.host.cores_rest("0-7")` is `0,4-7`."""
    return _or_error(lambda: cpus.rest(str(isolated), str(present)))


def each(cores: str | int) -> list[int]:
    """`"1-3,5" | labkit.host.cores` is `[1, 2, 3, 5]`."""
    return _or_error(lambda: sorted(cpus.parse(str(cores))))


def listed(cores: str | int) -> str:
    """`"2,1,3, 5" | labkit.host.cores_listed` is `1-3,5`: as it is written on a kernel command line."""
    return _or_error(lambda: cpus.listed(cpus.parse(str(cores))))


def problems(isolated: str | int, present: str | int, **more: str | int) -> list[str]:
    """What is wrong with isolating these cores."""
    return _or_error(
        lambda: cpus.problems(
            str(isolated), str(present), **{name: str(value) for name, value in more.items()}
        )
    )


def mask(cores: str | int) -> str:
    """`"1-3" | labkit.host.cores_mask` is `e`."""
    return _or_error(lambda: cpus.mask(cpus.parse(str(cores))))


def _or_error(work: Callable[[], Any]) -> Any:  # noqa: ANN401 (each filter names its own)
    try:
        return work()
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Names them to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {
            "cores": each,
            "cores_listed": listed,
            "cores_mask": mask,
            "cores_problems": problems,
            "cores_rest": rest,
        }
