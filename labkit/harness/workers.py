"""Labs side by side: what a worker of pytest-xdist and its controller exchange.

Each worker stores what it has measured in the one run folder, at once: a result is on the disk before its test is
reported, so that neither a killed worker nor a killed controller loses it. What is sent through pytest-xdist's channel
instead would be lost with the controller. The controller decides who measures what, and ends the run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from labkit.errors import LabkitError
from labkit.harness import selected, terminal
from labkit.harness.scheduling import ByUnit, Collections
from labkit.harness.selected import Selection
from labkit.harness.spelling import KEY, labkit_run_arguments
from labkit.machine import lacking, scratch
from labkit.machine.process import interrupt_with_parent
from labkit.record.naming import new_name
from labkit.session.settings import SharedRun

if TYPE_CHECKING:
    from labkit.session.session import Session

_LINES = "lines"
_END = b"\0"


class Worker:
    """What a worker knows of its run. Its process measures the labs that it is given tests of."""

    def __init__(self, config: pytest.Config) -> None:
        given = config.workerinput[KEY]  # type: ignore[attr-defined]
        self.id: str = config.workerinput["workerid"]  # type: ignore[attr-defined]
        self.run = SharedRun(name=given["run"], controller_pid=given["controller_pid"])
        self.seed: int = given["seed"]
        self.results = Path(given["results"])
        self.command: tuple[str, ...] = tuple(config.workerinput["mainargv"])  # type: ignore[attr-defined]
        self._folder = Path(given["folder"])
        self._output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        self._plugins = config.pluginmanager
        self._lines: TextIO | None = None

    @property
    def lines(self) -> TextIO:
        """Takes lines of progress, which the controller shows."""
        if self._lines is None:
            self._lines = (self._folder / _LINES).open("w", encoding="utf-8")
        return self._lines

    def close(self) -> None:
        """Nothing is shown any more."""
        if self._lines is not None:
            self._lines.close()

    def report(self, selection: Selection, session: pytest.Session) -> None:
        """Report to the controller what this worker has collected; run nothing where that is on another machine."""
        if self._folder.is_dir():
            selected.write(selection, self._folder / self.id)
        else:
            self._output[KEY] = {"elsewhere": True}
            session.items.clear()

    def report_end(self, *, later: object, broken: str) -> None:
        """Report what is left when all is over: verdicts as JSON values, and why results are missing."""
        self._output[KEY] = {"later": later, "broken": broken}

    def about_to_report(self, session: pytest.Session, item: pytest.Item) -> None:
        """A report of this test follows: pytest-xdist expects those of the test that is running only."""
        for plugin in self._plugins.get_plugins():
            if hasattr(plugin, "torun") and hasattr(plugin, "item_index"):
                plugin.item_index = session.items.index(item)


def worker_of(config: pytest.Config) -> Worker | None:
    """What this process was given. None: it is no worker of pytest-xdist."""
    if KEY not in getattr(config, "workerinput", {}):
        return None
    # The controller has this machine reserved for its workers: without it nothing may be measured any more.
    interrupt_with_parent()
    return Worker(config)


class Controller:
    """Decides which worker measures what, and shows the workers' progress. It measures nothing."""

    def __init__(self, config: pytest.Config, *, session: Callable[[], Session], seed: int) -> None:
        """`session`: made when it turns out that something is measured; it ends the run."""
        self._config = config
        self._session = session
        self.seed = seed
        self.run = SharedRun(name=new_name(), controller_pid=os.getpid())
        self.selection = Selection()
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch.folder("workers"))
        self._stack.enter_context(_Lines(config, self._folder / _LINES))

    @property
    def input(self) -> dict[str, object]:
        """What a worker is given."""
        return {
            "run": self.run.name,
            "controller_pid": self.run.controller_pid,
            "seed": self.seed,
            "results": str(Path(self._config.getoption("--labkit-results")).absolute()),
            "folder": str(self._folder),
            "labkit_run": labkit_run_arguments(self._config),
        }

    def close(self) -> None:
        """All workers have ended."""
        self._stack.close()

    def decide(self, collections: Collections) -> ByUnit | None:
        """Who runs which tests, where some of them measure; None: none does.

        Refuses what would falsify figures or results, and reserves this machine if a lab is on it.
        """
        written = [path for node in collections if (path := self._folder / _id(node)).is_file()]
        self.selection = selected.read(written[0]) if written else Selection()
        if not self.selection.tests:
            return None
        try:
            self._check(collections)
            return ByUnit(
                self._units(next(iter(collections.values())), workers=len(collections)), collections
            )
        except LabkitError as error:
            self._let_go(collections)
            pytest.exit(f"labkit: {error}", returncode=error.exit_code)
        except BaseException:
            self._let_go(collections)
            raise

    @staticmethod
    def _let_go(collections: Collections) -> None:
        """The workers end at once, instead of when they are waited for no longer."""
        for node in collections:
            node.shutdown()

    def _check(self, collections: Collections) -> None:
        option = self._config.option
        session: Any = self._config.pluginmanager.get_plugin("session")
        if session.testsfailed and not option.continue_on_collection_errors:
            errors = "1 error" if session.testsfailed == 1 else f"{session.testsfailed} errors"
            raise pytest.Session.Interrupted(f"{errors} during collection")
        if option.dist == "each":
            raise pytest.UsageError("--dist each would measure each lab once a worker: leave it out")
        if any(not (self._folder / _id(node)).is_file() for node in collections):
            raise elsewhere()
        if len({tuple(ids) for ids in collections.values()}) > 1:
            raise pytest.UsageError(
                "pytest-xdist's workers collected different tests: a test's parameters must be the same each time"
            )
        lacking.check()

    def _units(self, collected: Sequence[str], *, workers: int) -> list[list[str]]:
        """The tests, each unit for one worker: those of labs that share a machine are one."""
        from labkit.lab.groups import groups
        from labkit.lab.topology import HERE

        own = self._session()
        labs = self.selection.topologies
        own.find_hosts(labs.values())
        machines = own.machines_of(labs.values())
        if workers > 1 and len(groups(machines)) > 1:
            machines = own.machines_of(labs.values(), connect=True)
            own.disconnect()
        of_lab = {lab: group for group in groups(machines) for lab in group}
        here = next((of_lab[lab] for lab, taken in machines.items() if HERE in taken), None)
        if here is not None:
            own.reserve()
        lab_of_test = {test.id: test.topology for test in self.selection.tests}
        units: dict[object, list[str]] = {}
        for test in collected:
            # Beside a lab on this machine any other program, a test that measures nothing too, falsifies its figures.
            unit = of_lab.get(lab_of_test.get(test, ""), here) or test.partition("::")[0]
            units.setdefault(unit, []).append(test)
        return sorted(units.values(), key=len, reverse=True)


def elsewhere() -> pytest.UsageError:
    """Why a worker on another machine is refused."""
    return pytest.UsageError(
        "labkit measures with workers on this machine only (-n NUMBER): the hosts of a lab are reached from here"
    )


def _id(node: Any) -> str:  # noqa: ANN401 - pytest-xdist's
    return str(node.gateway.id)


class _Lines:
    """Shows the workers' lines of progress, each on a line of its own, on the stream that pytest reports to."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        os.mkfifo(path, 0o600)
        self._descriptor = os.open(
            path, os.O_RDWR | os.O_CLOEXEC
        )  # it has a writer always: no end before ours
        self._write = terminal.line_writer(config)
        self._thread = threading.Thread(target=self._show, name="labkit-progress", daemon=True)

    def _show(self) -> None:
        pending = b""
        while _END not in pending:
            *lines, pending = (pending + os.read(self._descriptor, 1 << 16)).split(b"\n")
            for line in lines:
                self._write(line.decode(errors="replace"))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        os.write(self._descriptor, _END)
        self._thread.join()
        os.close(self._descriptor)
