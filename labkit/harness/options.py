"""Reads the values of pytest's options. Each function raises UsageError for a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from labkit.errors import ConfigInvalid
from labkit.harness.collecting import LOWLATENCY, Topologies
from labkit.harness.spelling import spelt
from labkit.lab.topology import LinkKind

RETRY_S, RETRY_BUSY_S = 90.0, 30.0
"""Time for repeats by default, as --help says; the shorter one shows that they are of no use."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long to wait for the machine, and to repeat what was invalid [s]."""

    wait_s: float | None
    """None: without a limit."""
    retry_s: float
    retry_busy_s: float
    """Where other programs keep this machine busy. The same, if the user chose a time."""


def times(config: pytest.Config) -> Times:
    """Read --labkit-wait and --labkit-retry."""
    from labkit.session.reservation import parse_span, parse_wait

    retry = config.getoption("--labkit-retry")
    try:
        return Times(
            parse_wait(config.getoption("--labkit-wait"), option=spelt(config, "wait")),
            *(
                (RETRY_S, RETRY_BUSY_S)
                if retry is None
                else (parse_span(retry, option=spelt(config, "retry")),) * 2
            ),
        )
    except ConfigInvalid as error:
        raise pytest.UsageError(str(error)) from error


def testers(config: pytest.Config) -> tuple[str, ...]:
    """Read --labkit-tester: engines on interfaces, each once. Empty: the fastest that can run."""
    from labkit.testers.probe import interface_engine

    names: Sequence[str] = config.getoption("--labkit-tester") or ()
    try:
        found = [interface_engine(name, option=spelt(config, "tester")) for name in names]
    except ConfigInvalid as error:
        raise pytest.UsageError(str(error)) from error
    return tuple(dict.fromkeys(found))


def trex_dir(config: pytest.Config, chosen: Topologies | None) -> str | None:
    """Read --labkit-trex-dir. There must be a server where the tester trex was asked for.

    `chosen`: the topologies, None for those that labkit ships. On NICs it is the server of the tester's host.
    """
    given: str | None = config.getoption("--labkit-trex-dir")
    on_nics = chosen is not None and all(one.links[0].kind is LinkKind.NIC for one in chosen.chosen)
    if "trex" in testers(config) and not on_nics:
        from labkit.testers.trex.server import directory

        try:
            directory(given, option=spelt(config, "trex-dir"))
        except ConfigInvalid as error:
            raise pytest.UsageError(str(error)) from error
    return given


def required(config: pytest.Config) -> frozenset[str]:
    """Read the names in --labkit-require a,b --labkit-require c."""
    from labkit.backends import registry
    from labkit.yamlfile import suggest

    known = (*registry.names(), LOWLATENCY)
    words: Sequence[str] = config.getoption("--labkit-require") or ()
    names = [name.strip() for one in words for name in one.split(",")]
    for name in names:
        if name not in known:
            raise pytest.UsageError(
                f"{spelt(config, 'require')} {name!r}: no such backend ({suggest(name, known)})"
            )
    return frozenset(names)


def runs_no_test(config: pytest.Config) -> bool:
    """Whether pytest was asked for a listing only (--collect-only, --setup-plan), or for fixtures only."""
    option = config.option
    return bool(
        option.collectonly or getattr(option, "setuponly", False) or getattr(option, "setupplan", False)
    )
