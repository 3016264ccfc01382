"""How a test's end becomes an outcome of pytest and verdicts in the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from labkit.errors import ConfigInvalid, ConnectionLost, LabkitError
from labkit.harness import parts
from labkit.harness.collecting import Subject
from labkit.harness.spelling import spelt
from labkit.harness.state import PluginState
from labkit.harness.verdicts import INVALID, InvalidMeasurement, TargetMissed

if TYPE_CHECKING:
    from labkit.harness.outcomes import Ending
    from labkit.record.model import Key, Measurement


class MeasureFixture(Protocol):
    """What a test measured with: the fixture `measure`."""

    key: Key
    taken: list[Measurement]


_MEASURED = pytest.StashKey[MeasureFixture]()
_ENDING: pytest.StashKey[Ending] = pytest.StashKey()


def note_measure(item: pytest.Item, measured: MeasureFixture) -> None:
    """The test is about to measure with this."""
    item.stash[_MEASURED] = measured


def report(item: pytest.Item, made: pytest.TestReport, error: BaseException | None) -> None:
    """Give an invalid measurement its own outcome, and labkit's errors their message without a traceback."""
    if isinstance(error, INVALID):
        made.labkit_invalid = True  # type: ignore[attr-defined]
        if hasattr(made, "wasxfail"):
            del made.wasxfail  # an expected failure is one that was measured
        if item.config.getoption("--labkit-allow-invalid"):
            made.outcome = "skipped"
            made.longrepr = (str(item.path), item.location[1] or 0, f"Invalid: {error}")
        else:
            made.outcome = "failed"
            made.longrepr = f"INVALID: {error}"
    elif isinstance(error, LabkitError) and not hasattr(made, "wasxfail"):
        made.longrepr = f"{type(error).__name__}: {error}"


def judge_rest(item: pytest.Item, state: PluginState, made: pytest.TestReport) -> InvalidMeasurement | None:
    """A test that passed is invalid, if a target or a gate says so of anything that it measured. None: it is not."""
    measured = item.stash.get(_MEASURED, None)
    if made.when != "call" or not made.passed or parts.failed(item) or measured is None:
        return None
    lost = item.stash[_ENDING].lost if _ENDING in item.stash else ""  # in a part of the test
    if not measured.taken and not lost:
        return None
    from labkit.record.model import Outcome

    judge = state.session.judge
    judge.without_targets(item.nodeid, measured.taken)
    found = judge.held
    invalid = [f"{v.target}: {v.reason}" for v in found if v.outcome is Outcome.INVALID]
    invalid += [lost] if lost else []
    if not invalid:
        return None
    error = InvalidMeasurement("; ".join(invalid))
    report(item, made, error)
    return error


def follow(
    item: pytest.Item,
    state: PluginState,
    subject: Subject,
    made: pytest.TestReport,
    error: BaseException | None,
) -> None:
    """Add a phase of a measuring test to its ending; store the verdicts after the last one."""
    _gather(item, state, subject, made, error)
    if made.when != "teardown":
        return
    if state.pace is not None:
        taken = item.stash[_MEASURED].taken if _MEASURED in item.stash else ()
        state.pace.end(item.nodeid, measured=bool(taken))
    _conclude(item, state, subject)


def _gather(
    item: pytest.Item,
    state: PluginState,
    subject: Subject,
    made: pytest.TestReport,
    error: BaseException | None,
) -> None:
    """Add a phase of a test to its ending; a skip of what is required becomes a failure."""
    from labkit.harness.outcomes import Ending

    ending = item.stash.setdefault(_ENDING, Ending())
    if isinstance(error, ConnectionLost):
        ending.lost = _first_line(error)
        state.session.recorder.attempts.interrupt(item.nodeid)
        return
    expected = getattr(made, "wasxfail", None)
    if made.outcome == "skipped" and expected is not None:
        ending.expected = expected or "no reason given"
    elif made.outcome == "skipped" and not getattr(made, "labkit_invalid", False) and not parts.is_part(item):
        ending.skipped = made.longrepr[2] if isinstance(made.longrepr, tuple) else str(made.longrepr)
        ending.skipped = ending.skipped.removeprefix("Skipped: ")
        if subject.backend in state.required:
            ending.required = True
            made.outcome = "failed"
            option = spelt(item.config, "require")
            made.longrepr = f"{subject.backend} is required ({option}), and skipped: {ending.skipped}"
    elif made.outcome == "failed" and not isinstance(error, TargetMissed | InvalidMeasurement):
        if isinstance(error, LabkitError) and not isinstance(error, ConfigInvalid):
            ending.broken = _first_line(error)
        else:
            # Without an exception: a test that passed although it is expected to fail (xfail, strict).
            why = str(made.longrepr).partition("\n")[0] if error is None else _first_line(error)
            where = "" if made.when == "call" else f"{made.when}: "
            ending.failed = ending.failed or f"{where}{why}"
            ending.bad_input = isinstance(error, ConfigInvalid)


def _first_line(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    if isinstance(error, LabkitError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _conclude(item: pytest.Item, state: PluginState, subject: Subject) -> None:
    """Store the verdicts of a test that has ended. Bad input that was found before anything else leaves nothing."""
    from labkit.harness.outcomes import Ending, conclude

    ending = item.stash.get(_ENDING, Ending())
    measured = item.stash.get(_MEASURED, None)
    item.stash[_ENDING] = Ending()  # a rerun of the same test begins anew
    if measured is not None:
        del item.stash[_MEASURED]
    held = state.begun.judge.take() if state.begun is not None else ()
    if measured is None and not ending.happened and not held:
        return
    recorder = state.session.recorder
    if ending.bad_input and recorder.folder is None:
        return
    by_author = bool(measured is None and ending.skipped and not ending.required and not held)
    verdicts = conclude(
        item.nodeid,
        ending,
        held,
        tried=subject.key if measured is None else measured.key,
        measured=() if measured is None else measured.taken,
        attempt=recorder.attempts.number(item.nodeid),
    )
    if by_author and recorder.folder is None:
        state.later += verdicts
        return
    try:
        recorder.store_verdicts(verdicts)
    except LabkitError as late:
        # Results can no longer be stored (a full disk): nor could anything that follows.
        item.session.shouldfail = f"labkit: {late.message}"
