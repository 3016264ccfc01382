"""The pytest plugin: hooks and fixtures, which delegate to labkit.harness.

It decides nothing about figures: it asks the session to measure and the targets to judge, and turns verdicts
into outcomes. A test becomes a labkit test by asking for the `measure` fixture.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from labkit import output
from labkit.errors import EnvironmentBroken, LabkitError
from labkit.harness import (
    commandline,
    ending,
    flags,
    junit,
    markers,
    parts,
    reporting,
    reruns,
    scheduling,
    selection,
    state,
    terminal,
)
from labkit.harness.collecting import PARAMETER, Subject, measures, parameters, subject_of
from labkit.harness.repeats import Repeats
from labkit.harness.spelling import KEY
from labkit.harness.state import state_of
from labkit.machine import lacking

if TYPE_CHECKING:
    from labkit.fixtures import HostMeasure, TargetCheck
    from labkit.record.model import Key

NAMES = ("labkit", "labkit.plugin")
"""Of this plugin: as the entry point has it, and as a module (`-p labkit.plugin`)."""


# --- options and configuration -------------------------------------------------------------------------------


def pytest_plugin_registered(plugin: object, plugin_name: str, manager: pytest.PytestPluginManager) -> None:
    """Have pytest skip this plugin's other name: it would refuse to register the same module twice.

    Only a second -p undoes that (`-p labkit -p labkit.plugin`): pytest unblocks what -p names.
    """
    if plugin is sys.modules[__name__] and plugin_name in NAMES:
        for other in NAMES:
            if other != plugin_name:
                manager.set_blocked(other)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the harness."""
    group = parser.getgroup("labkit", "labkit: throughput and latency of datapaths")
    for flag in flags.TABLE:
        flag.add_to_pytest(group)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Stop reading a command line for which pytest found a wrong rootdir: its configuration may add other options."""
    if commandline.misread(early_config):
        args.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Keep pytest's rootdir where it would be without our options."""
    return commandline.again(config) if commandline.misread(config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the options, and register the markers."""
    try:
        own = state.begin(config)
    except ImportError as error:  # a package that reading the options needs
        raise pytest.UsageError(str(lacking.as_error(error) or error)) from error
    if own.worker is None:
        junit.begin(config)
    output.tolerate(sys.stdout)  # pytest would write the whole summary as one escaped line
    repeats = Repeats(budget_s=own.times.retry_s, busy_budget_s=own.times.retry_busy_s, state=own)
    config.pluginmanager.register(repeats, "labkit-repeats")
    markers.register(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put junit.xml beside the results."""
    junit.end(config, state.folder_of(config))
    state.end(config)


# --- collection ----------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that measures its datapath: one by its backend marker, or every one there is."""
    if PARAMETER not in metafunc.fixturenames:
        return
    test, config = metafunc.definition, metafunc.config
    try:
        found = parameters(test, state_of(config).topologies, quick=config.getoption("--labkit-quick"))
    except LabkitError as error:
        path, line, _ = test.reportinfo()
        where = f"{path}:{(line or 0) + 1}"
        # An error of collection without a traceback: labkit's own lines say nothing about the user's.
        raise pytest.Collector.CollectError(f"{where}: {test.name}: {error}") from error
    metafunc.parametrize(PARAMETER, found, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what the chosen topologies don't have; keep the tests of one datapath together (stable)."""
    if not any(measures(item) for item in items):
        return
    try:
        lacking.check()
    except EnvironmentBroken as error:
        pytest.exit(f"labkit: {error}", returncode=error.exit_code)
    selection.leave_out(config, state_of(config), items)
    selection.sort(state_of(config), items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what is going to be measured."""
    selection.finish(session, state_of(session.config))


# --- labs side by side: hooks of pytest-xdist -------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - pytest-xdist's
    """Tell a worker, before it starts, which run it is part of."""
    node.workerinput[KEY] = state_of(node.config).controller.input


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> Generator[None, Any, scheduling.Undecided]:
    """Give the tests of labs that share a machine to one worker, once it is known what was collected."""
    chosen = yield
    return scheduling.Undecided(chosen, state_of(config).controller.decide)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any) -> None:  # noqa: ANN401 - with an attribute of pytest-xdist's
    """Note that a test ended with its worker."""
    ending.note_crash(state_of(report.node.config), crashitem, str(report.longrepr))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - pytest-xdist's
    """Take what a worker reported at its end."""
    ending.take(state_of(node.config), getattr(node, "workeroutput", {}).get(KEY))


# --- fixtures ------------------------------------------------------------------------------------------------


@pytest.fixture
def labkit_target_of_test(request: pytest.FixtureRequest) -> Subject:
    """The datapath and frame size, or the host, that this test measures (set by its markers)."""
    if not hasattr(request, "param"):
        raise pytest.UsageError(
            f"{request.node.name}: the fixture measure is asked for by getfixturevalue: name it as an argument of the "
            "test, or of a fixture that the test names"
        )
    subject: Subject = request.param
    return subject


@pytest.fixture
def measure(request: pytest.FixtureRequest, labkit_target_of_test: Subject) -> Iterator[HostMeasure]:
    """Measure the test's datapath: `.throughput()`, `.mrr()`, `.latency(load=...)`, `.loss_curve()`, `.back_to_back()`.

    And the host itself: `.wakeup()`, `.busy_loop()`, `.hardware()`, `.timerlat()`; a test marked lowlatency alone has
    these only. Skips the test, with the reason and the fix, if this machine lacks what is needed.
    """
    from labkit.fixtures import HostMeasure, Measure

    own = state_of(request.config)
    session, subject = own.session, labkit_target_of_test
    session.judge.hold()
    measured_before = reruns.forget_for_rerun(session.recorder, request.node)
    selection.begin(own, request.node.nodeid)

    def skip(key: Key, reason: str) -> NoReturn:
        session.judge.skip(request.node.nodeid, key, reason)
        pytest.skip(reason)

    if subject.datapath is not None and (missing := session.lacking(subject.datapath)):
        skip(subject.key, "; ".join(missing))
    measured = (
        HostMeasure(session, subject.topology, skip=skip)
        if subject.datapath is None
        else Measure(
            session, subject.datapath, subject.frame, skip=skip, frame_may_not_fit=subject.everywhere
        )
    )
    reporting.note_measure(request.node, measured)
    try:
        yield measured
    finally:
        measured_before |= {measurement.key for measurement in measured.taken}
        session.progress.done()


@pytest.fixture
def target(request: pytest.FixtureRequest, measure: HostMeasure) -> TargetCheck:
    """Judge a measurement by targets: `target(measurement, pdr=">= 10 Mpps", p99="<= 100 us")`."""
    from labkit.fixtures import TargetCheck

    return TargetCheck(state_of(request.config).session, measure, request.node.nodeid)


# --- outcomes ------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Know what is reported while the test runs: its parts."""
    with parts.running(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Give invalid measurements an outcome of their own; gather how the test ends, and store it."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    error = call.excinfo.value if call.excinfo is not None else None
    own, subject = state_of(item.config), subject_of(item)
    reporting.report(item, report, error)
    if isinstance(subject, Subject):
        if parts.is_part(item):
            parts.report(item, report, error)
        else:
            error = reporting.judge_rest(item, own, report) or error
        reporting.follow(item, own, subject, report, error)
        parts.fail_for_parts(item, report)
    return report  # type: ignore[return-value]


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> terminal.StatusWord | None:
    """Count invalid apart from failed, skipped and passed."""
    # What another plugin reruns is counted as that plugin says.
    invalid = getattr(report, "labkit_invalid", False) and str(report.outcome) != "rerun"
    return terminal.INVALID if invalid else None


@pytest.hookimpl(tryfirst=True, specname="pytest_sessionfinish")
def pytest_sessionfinish_first(session: pytest.Session) -> None:
    """Make the folders that pytest's plugin junitxml would make: what sudo makes belongs to who called it."""
    junit.make_folders_of_own(session.config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Take the lab down and write the results, however the run ended. Fail a run that measured nothing."""
    own = state_of(session.config)
    if ending.close(session, own, interrupted=exitstatus == pytest.ExitCode.INTERRUPTED):
        repeats: Any = session.config.pluginmanager.get_plugin("labkit-repeats")
        ending.check(session, own, repeats.never_reported)


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:  # noqa: ANN401
    """Write what was invalid and why, the run's table, what was deselected, and other reasons for a failed run."""
    own = state_of(config)
    recorder = own.begun.recorder if own.begun is not None else None
    terminal.summarize(terminalreporter, recorder, elsewhere=own.selection.elsewhere, problems=own.problems)
