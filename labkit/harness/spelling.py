"""How the user spelt an option: `labkit run --retry`, or pytest's `--labkit-retry`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from labkit.harness import flags

KEY = "labkit"
"""In the input and the output of a worker of pytest-xdist: what labkit adds."""


class LabkitRun:
    """Registered with pytest by `labkit run`, which passes its own options on as those of pytest."""

    def __init__(self, pytest_arguments: Sequence[str] = ()) -> None:
        self.pytest_arguments = tuple(pytest_arguments)
        """What the user gave to pytest, after `--`."""


def labkit_run_arguments(config: pytest.Config) -> list[str] | None:
    """What the user of `labkit run` gave to pytest; None: the user called pytest."""
    for plugin in config.invocation_params.plugins or ():
        if isinstance(plugin, LabkitRun):
            return list(plugin.pytest_arguments)
    given: list[str] | None = getattr(config, "workerinput", {}).get(KEY, {}).get("labkit_run")
    return given


def spelt(config: pytest.Config, name: str) -> str:
    """The option of that name in `labkit.harness.flags`, for messages about it."""
    flag, arguments = flags.of_run()[name], labkit_run_arguments(config)
    if arguments is None:
        return flag.in_pytest
    return flag.in_pytest if flag.in_pytest in [word.partition("=")[0] for word in arguments] else flag.in_run
