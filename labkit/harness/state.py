"""What the plugin knows of one run of pytest."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.errors import LabkitError
from labkit.harness import options, terminal
from labkit.harness.collecting import Topologies
from labkit.harness.pace import Pace
from labkit.harness.selected import Selection
from labkit.harness.spelling import spelt
from labkit.harness.workers import Controller, worker_of

if TYPE_CHECKING:
    from labkit.record.model import Verdict
    from labkit.session.session import Session

LISTEN_S = 3.0
"""Time to observe the machine before the first measurement: long enough to notice a program that runs now and then."""


class PluginState:
    """State of one `pytest.Config`, from configure to unconfigure."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options. Raises UsageError: bad input is reported before anything is collected."""
        self._config = config
        self._topologies: Topologies | None = None
        self._testers = options.testers(config)
        if config.getoption("--labkit-topology"):
            try:
                self._topologies = self._read(config.getoption("--labkit-topology"))
            except LabkitError as error:
                raise pytest.UsageError(str(error)) from error
        self.required = options.required(config)
        """Names of backends that must be measured."""
        self.times = options.times(config)
        self._trex_dir = options.trex_dir(config, self._topologies)
        self._session: Session | None = None
        self.worker = worker_of(config)
        """What this process was given as a worker of pytest-xdist. None: it is none."""
        self._controller: Controller | None = None
        self._selection = Selection()
        self.broken: list[str] = []
        """Why workers of pytest-xdist could not store all results."""
        self.elsewhere: list[str] = []
        """Why tests were deselected, as they are found."""
        self.crashed: list[Verdict] = []
        """Verdicts of tests whose worker was killed."""
        self.outcomes: set[str] = set()
        """The outcomes of all tests, measuring or not."""
        self.problems: list[str] = []
        """Reasons, besides its tests, for which the run fails."""
        self.pace: Pace | None = None
        self.later: list[Verdict] = []
        """Verdicts of tests that their authors skip: stored only if the run has a folder for other reasons."""

    @property
    def topologies(self) -> Topologies:
        """The topologies of the run; read and checked once. Raises ConfigInvalid."""
        if self._topologies is None:
            self._topologies = self._read(None)
        return self._topologies

    def _read(self, names: Sequence[str] | None) -> Topologies:
        return Topologies(names, self._testers, tester_option=spelt(self._config, "tester"))

    @property
    def controller(self) -> Controller:
        """Decides what the workers of pytest-xdist do; made when the first of them is started."""
        if self._controller is None:
            seed = self._config.getoption("--labkit-seed")
            self._controller = Controller(
                self._config,
                session=lambda: self.session,
                seed=secrets.randbelow(2**31) if seed is None else seed,
            )
        return self._controller

    @property
    def has_workers(self) -> bool:
        """Whether this process is the controller of pytest-xdist's workers."""
        return self._controller is not None

    @property
    def selection(self) -> Selection:
        """The measuring tests of the run, and why others were deselected."""
        return self._selection if self._controller is None else self._controller.selection

    @selection.setter
    def selection(self, selection: Selection) -> None:
        self._selection = selection

    @property
    def session(self) -> Session:
        """The session that measures, made when it is first needed."""
        if self._session is None:
            from labkit.session.session import Session
            from labkit.session.settings import Settings

            option = self._config.getoption
            shared = self._controller or self.worker
            self._session = Session(
                Settings(
                    quick=option("--labkit-quick"),
                    rfc2544=option("--labkit-rfc2544"),
                    # Several are the topologies' own.
                    tester_engine=self._testers[0] if len(self._testers) == 1 else None,
                    tester_option=spelt(self._config, "tester"),
                    trex_dir=self._trex_dir,
                    trex_option=spelt(self._config, "trex-dir"),
                    inventories=tuple(option("--labkit-inventory") or ()),
                    seed=option("--labkit-seed") if shared is None else shared.seed,
                    shared=None if shared is None else shared.run,
                    wait_s=self.times.wait_s,
                    listen_s=LISTEN_S,
                    retry_s=self.times.retry_s,
                    results=Path(option("--labkit-results")) if self.worker is None else self.worker.results,
                    command=tuple(sys.argv) if self.worker is None else self.worker.command,
                ),
                progress=terminal.progress(self._config, where=self._where)
                if self.worker is None
                else terminal.worker_progress(self.worker.lines, where=self._where),
            )
        return self._session

    def _where(self) -> str:
        return self.pace.words if self.pace is not None else ""

    @property
    def begun(self) -> Session | None:
        """The session, if there is one already."""
        return self._session


_STATE = pytest.StashKey[PluginState]()


def begin(config: pytest.Config) -> PluginState:
    """Make the state of this run. Raises UsageError."""
    config.stash[_STATE] = PluginState(config)
    return config.stash[_STATE]


def state_of(config: pytest.Config) -> PluginState:
    """The state of this run."""
    return config.stash[_STATE]


def folder_of(config: pytest.Config) -> Path | None:
    """Where the run is stored. None: nowhere, also where its options were wrong."""
    state = config.stash.get(_STATE, None)
    return state.begun.recorder.folder if state is not None and state.begun is not None else None


def end(config: pytest.Config) -> None:
    """Let go of the workers, or of the controller, of pytest-xdist."""
    state = config.stash.get(_STATE, None)
    if state is not None and state.has_workers:
        state.controller.close()
    if state is not None and state.worker is not None:
        state.worker.close()
