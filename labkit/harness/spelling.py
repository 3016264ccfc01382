"""How the user spelt an option: `labkit run --retry`, or pytest's `--labkit-retry`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from labkit.harness import flags


class LabkitRun:
    """Registered with pytest by `labkit run`, which passes its own options on as those of pytest."""

    def __init__(self, pytest_arguments: Sequence[str] = ()) -> None:
        self.pytest_arguments = tuple(pytest_arguments)
        """What the user gave to pytest, after `--`."""


def spelt(config: pytest.Config, name: str) -> str:
    """The option of that name in `labkit.harness.flags`, for messages about it."""
    flag = flags.of_run()[name]
    for plugin in config.invocation_params.plugins or ():
        if isinstance(plugin, LabkitRun):
            words = [word.partition("=")[0] for word in plugin.pytest_arguments]
            return flag.in_pytest if flag.in_pytest in words else flag.in_run
    return flag.in_pytest
