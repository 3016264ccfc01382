"""The end of a run: takes everything down, and sets the exit code if it did not measure what it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from labkit.errors import EnvironmentBroken
from labkit.harness import options, terminal, workers
from labkit.harness.spelling import spelt
from labkit.harness.state import PluginState

NOTHING_MEASURED = 5
"""Exit code of a run without a measurement: pytest's own for "no tests"."""


def close(session: pytest.Session, state: PluginState, *, interrupted: bool) -> bool:
    """Take the lab down and write the results, however the run ended. False: they could not be written."""
    if state.begun is None:
        return True
    broken = ""
    try:
        state.begun.recorder.store_verdicts(state.crashed)
        if state.begun.recorder.folder is not None:
            state.begun.recorder.store_verdicts(state.later)
            state.later.clear()
        state.begun.close(interrupted=interrupted)
    except EnvironmentBroken as error:
        broken = f"labkit: {error}"
    if state.worker is not None:
        from labkit.record.codec import encode

        state.worker.report_end(later=encode(state.later), broken=broken)
        return not broken
    problems = [*state.broken, *([broken] if broken else [])]
    for problem in problems:
        terminal.last_line(session.config, problem, red=True)
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    return not problems


def take(state: PluginState, reported: Mapping[str, Any] | None) -> None:
    """Take what a worker of pytest-xdist reported at its end. None: it was killed, or measured nothing.

    Raises UsageError: it was to measure, and is on another machine.
    """
    if reported is None:
        return
    if reported.get("elsewhere"):
        raise workers.elsewhere()
    from labkit.record.codec import decode
    from labkit.record.model import Verdict

    state.later += [decode(Verdict, verdict) for verdict in reported["later"]]
    state.broken += [reported["broken"]] if reported["broken"] else []


def note_crash(state: PluginState, test: str, why: str) -> None:
    """A test's worker was killed: what it had measured is stored, and the test has failed."""
    from labkit.targets import judge

    for one in state.selection.tests:
        if one.id == test and one.key is not None:
            state.crashed += judge.verdicts(test, one.key, (judge.broken(why),), attempt=1)


def check(session: pytest.Session, state: PluginState, never_reported: Sequence[str]) -> None:
    """Fail a run that measured nothing, or not what is required.

    `never_reported`: tests that were to be repeated, by a worker of pytest-xdist which was killed.
    """
    config = session.config
    if options.runs_no_test(config) or state.worker is not None:
        return
    passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if not passed and session.exitstatus != pytest.ExitCode.TESTS_FAILED:
        return  # it ended before measuring, and reports why itself
    missing = _not_selected(state, option=spelt(config, "require"))
    killed = [f"{test} was to be repeated, and its worker was killed" for test in never_reported]
    nothing = _nothing_measured(config, state) if passed else ""
    state.problems = [*missing, *killed, *([nothing] if nothing else [])]
    if missing or killed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif nothing:
        session.exitstatus = NOTHING_MEASURED
    terminal.report_problems(config, state.problems)


def _not_selected(state: PluginState, *, option: str) -> list[str]:
    """What is required, but no test of it was selected."""
    there = {test.backend for test in state.selection.tests}
    return [
        f"{name} is required ({option}), but no test of it was selected"
        for name in sorted(state.required - there)
    ]


def _nothing_measured(config: pytest.Config, state: PluginState) -> str:
    """The message if nothing was measured although tests were selected. Empty: something was measured."""
    selected = state.selection.tests
    if not selected and config.getoption("--labkit-junit"):  # as `labkit run` does: nothing else was to run
        return (
            "nothing was measured: no test of the suite has these markers on these topologies "
            f"(labkit run -- --collect-only -q lists what there is); exit code {NOTHING_MEASURED}"
        )
    if not selected or state.outcomes - {"skipped"}:
        return ""
    finished = state.begun.recorder.finished if state.begun is not None else None
    if finished is not None and (finished.measurements or finished.former_measurements):
        return ""
    tests = "1 test was" if len(selected) == 1 else f"all {len(selected)} tests were"
    return f"nothing was measured: {tests} skipped (-rs shows why); exit code {NOTHING_MEASURED}"
