"""The flags of a run: one table for `labkit run` (`--quick`) and for pytest (`--labkit-quick`)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

PREFIX = "--labkit-"


def given(value: str) -> str:
    """The value of an option that may not be empty: a variable of a script that is not set would mean the default."""
    if not value.strip():
        raise argparse.ArgumentTypeError(f"expected a value, got {value!r}")
    return value


class _ArgumentParser(Protocol):
    def add_argument(self, *names: str, **settings: Any) -> argparse.Action: ...  # noqa: ANN401 (argparse's)


class _OptionGroup(Protocol):
    def addoption(self, *names: str, **settings: Any) -> None: ...  # noqa: ANN401 (pytest's)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag, as `labkit run` and as pytest have it."""

    name: str
    """Without the prefix: "allow-invalid"."""
    help: str
    takes: Literal["nothing", "value", "values"] = "value"
    """"values": it may be repeated."""
    metavar: str | None = None
    default: str | None = None
    type: Callable[[str], Any] = given
    bare: str | None = None
    """On the command line of `labkit`, the value of an option that is given without one.

    Not in pytest, where the path of a test may follow.
    """
    also: tuple[str, ...] = ()
    """Other names in pytest."""
    run: bool = True
    """Whether `labkit run` has it."""

    @property
    def dest(self) -> str:
        """Where argparse stores it."""
        return self.name.replace("-", "_")

    @property
    def in_run(self) -> str:
        """Its name in `labkit run`."""
        return f"--{self.name}"

    @property
    def in_pytest(self) -> str:
        """Its name in pytest."""
        return f"{PREFIX}{self.name}"

    def _settings(self) -> dict[str, Any]:
        if self.takes == "nothing":
            return {"action": "store_true", "help": self.help}
        settings: dict[str, Any] = {
            "help": self.help,
            "metavar": self.metavar,
            "default": self.default,
            "type": self.type,
        }
        if self.takes == "values":
            settings["action"] = "append"
        return settings

    def add_to_run(self, parser: _ArgumentParser) -> argparse.Action:
        """Add it to a verb of the command line."""
        settings = self._settings()
        if self.bare is not None:
            settings |= {"nargs": "?", "const": self.bare}
        return parser.add_argument(self.in_run, **settings)

    def add_to_pytest(self, group: _OptionGroup) -> None:
        """Add it to pytest's options."""
        group.addoption(self.in_pytest, *self.also, **self._settings())

    def as_pytest(self, arguments: argparse.Namespace) -> list[str]:
        """What `labkit run` passes to pytest for it."""
        value = getattr(arguments, self.dest)
        if value is None or value is False:
            return []
        if value is True:
            return [self.in_pytest]
        return [f"{self.in_pytest}={one}" for one in (value if isinstance(value, list) else (value,))]


WAIT = Flag(
    name="wait",
    metavar="TIME",
    bare="forever",
    help="if another process measures on this machine, wait up to this time ('10min'), or 'forever' (for labkit also: "
    "--wait without a time); default: the variable LABKIT_WAIT, else refuse to run",
)
TESTER = Flag(
    name="tester",
    metavar="ENGINE",
    help="tester engine on network interfaces: af_xdp, af_packet, on veth xdp, on NICs dpdk, or trex with --trex-dir "
    "(default: af_xdp where it can run)",
)
TREX_DIR = Flag(
    name="trex-dir",
    metavar="DIRECTORY",
    help="where the TRex server is that the tester trex uses: the folder with t-rex-64 (default: the variable "
    "LABKIT_TREX_DIR)",
)
INVENTORY = Flag(
    name="inventory",
    takes="values",
    metavar="FILE",
    help="Ansible inventory of the hosts that a topology names (repeatable; default: their names are ssh's)",
)
TABLE = (
    Flag(
        name="topology",
        takes="values",
        metavar="NAME|FILE",
        also=("--topology",),
        help="measure on this topology only: a YAML file, or the name of one that labkit ships (repeatable; default: "
        "all that labkit ships)",
    ),
    Flag(
        name="quick",
        takes="nothing",
        help="short trials and default modes only: a first look, in under two minutes",
    ),
    Flag(
        name="rfc2544",
        takes="nothing",
        help="60 s zero-loss final trials, as RFC 2544 requires: hours, not minutes",
    ),
    Flag(
        name="results",
        metavar="DIR",
        default="results",
        help="where run folders are created (default: %(default)s)",
    ),
    Flag(
        name="junit",
        takes="nothing",
        run=False,  # it always writes one
        help="write junit.xml into the run folder, as `labkit run` does",
    ),
    replace(
        TESTER,
        takes="values",
        help=TESTER.help
        + "; repeatable: each datapath is measured by all of them, side by side (probe: labkit's own, "
        "its fastest engine)",
    ),
    TREX_DIR,
    INVENTORY,
    Flag(name="seed", metavar="N", type=int, help="seed of all random values; recorded with the results"),
    Flag(
        name="retry",
        metavar="TIME",
        help="at the end, repeat measurements that were invalid for a transient reason, for up to this time "
        "(default: 90s, or 30s while other programs keep a core busy; 0: do not repeat); every attempt is kept in the "
        "results",
    ),
    WAIT,
    Flag(
        name="require",
        takes="values",
        metavar="BACKENDS",
        help="these must be measured, for example dpdk,af_xdp: the run fails (exit code 1) if one of them is skipped "
        "or not selected (repeatable)",
    ),
    Flag(
        name="allow-invalid",
        takes="nothing",
        help="invalid measurements (noise, unproven mode) do not fail the run; they are still counted and shown",
    ),
)


def valued() -> tuple[str, ...]:
    """The options of pytest that take a value."""
    return tuple(name for flag in TABLE if flag.takes != "nothing" for name in (flag.in_pytest, *flag.also))


def of_run() -> Mapping[str, Flag]:
    """The flags that `labkit run` has, by name."""
    return {flag.name: flag for flag in TABLE if flag.run}
