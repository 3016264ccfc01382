"""The end of a run: takes everything down, and sets the exit code if it did not measure what it should."""

from __future__ import annotations

import pytest

from labkit.errors import EnvironmentBroken
from labkit.harness import options, terminal
from labkit.harness.collecting import Subject, subject_of
from labkit.harness.spelling import spelt
from labkit.harness.state import PluginState

NOTHING_MEASURED = 5
"""Exit code of a run without a measurement: pytest's own for "no tests"."""


def close(session: pytest.Session, state: PluginState, *, interrupted: bool) -> bool:
    """Take the lab down and write the results, however the run ended. False: they could not be written."""
    if state.begun is None:
        return True
    try:
        if state.begun.recorder.folder is not None:
            state.begun.recorder.store_verdicts(state.later)
        state.begun.close(interrupted=interrupted)
    except EnvironmentBroken as error:
        terminal.last_line(session.config, f"labkit: {error}", red=True)
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        return False
    return True


def check(session: pytest.Session, state: PluginState) -> None:
    """Fail a run that measured nothing, or not what is required."""
    config = session.config
    if options.runs_no_test(config) or hasattr(config, "workerinput"):
        return
    passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if not passed and session.exitstatus != pytest.ExitCode.TESTS_FAILED:
        return  # it ended before measuring, and reports why itself
    missing = _not_selected(state, option=spelt(config, "require"))
    nothing = _nothing_measured(config, state) if passed else ""
    state.problems = [*missing, *([nothing] if nothing else [])]
    if missing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif nothing:
        session.exitstatus = NOTHING_MEASURED
    terminal.report_problems(config, state.problems)


def _not_selected(state: PluginState, *, option: str) -> list[str]:
    """What is required, but no test of it was selected."""
    subjects = [subject_of(item) for item in state.selected]
    there = {subject.backend for subject in subjects if isinstance(subject, Subject)}
    return [
        f"{name} is required ({option}), but no test of it was selected"
        for name in sorted(state.required - there)
    ]


def _nothing_measured(config: pytest.Config, state: PluginState) -> str:
    """The message if nothing was measured although tests were selected. Empty: something was measured."""
    if not state.selected and config.getoption(
        "--labkit-junit"
    ):  # as `labkit run` does: nothing else was to run
        return (
            "nothing was measured: no test of the suite has these markers on these topologies "
            f"(labkit run -- --collect-only -q lists what there is); exit code {NOTHING_MEASURED}"
        )
    if not state.selected or state.outcomes - {"skipped"}:
        return ""
    finished = state.begun.recorder.finished if state.begun is not None else None
    if finished is not None and (finished.measurements or finished.former_measurements):
        return ""
    tests = "1 test was" if len(state.selected) == 1 else f"all {len(state.selected)} tests were"
    return f"nothing was measured: {tests} skipped (-rs shows why); exit code {NOTHING_MEASURED}"
