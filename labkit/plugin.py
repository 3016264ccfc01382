"""The pytest plugin: options, markers, fixtures and the closing summary.

It decides nothing about figures: it asks the session to measure and the targets to judge, and turns verdicts
into outcomes. A test becomes a labkit test by asking for the `measure` fixture.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from labkit import output
from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError
from labkit.harness import commandline
from labkit.harness.collecting import (
    LOWLATENCY,
    PARAMETER,
    Elsewhere,
    Labs,
    Subject,
    measures,
    parameters,
    subject_of,
)
from labkit.harness.pace import Pace
from labkit.harness.repeats import Repeats
from labkit.harness.verdicts import InvalidMeasurement, TargetMissed
from labkit.machine import lacking
from labkit.machine.ownership import hand_over

if TYPE_CHECKING:
    from labkit.fixtures import HostMeasure, TargetCheck
    from labkit.harness.outcomes import Ending
    from labkit.record.model import Key, Verdict
    from labkit.session.session import Session

KINDS = {
    "throughput": "measures NDR, PDR and MRR",
    "latency": "measures round-trip times at stated loads",
    "loss": "measures the frame loss curve (RFC 2544 26.3)",
    "burst": "measures back-to-back frames (RFC 9004)",
    "slow": "takes minutes: more frame sizes, longer trials",
}
SESSION_KEY = pytest.StashKey["Session"]()
LABS_KEY = pytest.StashKey[Labs]()
JUNIT_KEY = pytest.StashKey[int]()
REQUIRED_KEY = pytest.StashKey[frozenset[str]]()
SELECTED_KEY = pytest.StashKey[list[pytest.Item]]()
"""The measuring tests of the run."""
ELSEWHERE_KEY = pytest.StashKey[list[str]]()
"""Why tests were deselected."""
COUNTED_KEY = pytest.StashKey[set[str]]()
"""Outcomes of all tests, measuring or not."""
PROBLEMS_KEY = pytest.StashKey[list[str]]()
"""What ended the run badly besides its tests."""
RUNS_KEY = pytest.StashKey[dict[tuple[object, ...], "_Runs"]]()
PACE_KEY = pytest.StashKey[Pace]()
MEASURE_KEY = pytest.StashKey["HostMeasure"]()
ENDING_KEY: pytest.StashKey[Ending] = pytest.StashKey()
LATER_KEY: pytest.StashKey[list[Verdict]] = pytest.StashKey()
"""Of tests that their authors skip: no reason to make a run's folder, but a part of it where there is one."""
TIMES_KEY: pytest.StashKey[_Times] = pytest.StashKey()
LISTEN_S = 3.0
"""Before the first measurement: long enough that a program which works now and then is seen at it."""
NOTHING_MEASURED = 5
"""Exit code of a run without a measurement: pytest's own for "no tests"."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the harness."""
    group = parser.getgroup("labkit", "labkit: throughput and latency of datapaths")
    group.addoption(
        "--topology",
        action="append",
        metavar="NAME|FILE",
        help="measure on this topology only (repeatable); default: all that labkit ships",
    )
    group.addoption(
        "--labkit-quick", action="store_true", help="short trials and default modes only: a first look"
    )
    group.addoption(
        "--labkit-rfc2544", action="store_true", help="60 s zero-loss final trials, as RFC 2544 asks"
    )
    group.addoption(
        "--labkit-results",
        metavar="DIR",
        default="results",
        help="where run folders are made (default: %(default)s)",
    )
    group.addoption(
        "--labkit-junit",
        action="store_true",
        help="write junit.xml into the run folder, as `labkit run` does",
    )
    group.addoption(
        "--labkit-tester",
        metavar="ENGINE",
        help="tester engine on network interfaces: af_xdp or af_packet (default: af_xdp where it can run)",
    )
    group.addoption(
        "--labkit-seed", type=int, default=None, metavar="N", help="seed of everything random (recorded)"
    )
    group.addoption(
        "--labkit-retry",
        metavar="TIME",
        default="90s",
        help="how long to go on, when all is measured, measuring again what was invalid for a reason that can pass "
        "(default: %(default)s; 0: not at all); every attempt is kept in the results",
    )
    group.addoption(
        "--labkit-wait",
        metavar="TIME",
        help="where another process measures on this machine, wait so long, or 'forever' (default: refuse, or "
        "LABKIT_WAIT)",
    )
    group.addoption(
        "--labkit-require",
        action="append",
        metavar="BACKENDS",
        help="these must be measured, such as dpdk,af_xdp: one that is skipped or not selected is a failure",
    )
    group.addoption(
        "--labkit-allow-invalid",
        action="store_true",
        help="invalid measurements (noise, unproven mode) do not fail the run; they stay counted",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Read no more of a command line whose rootdir is wrong: another configuration's options may stand in it."""
    if commandline.misread(early_config):
        args.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Keep pytest's rootdir where it would be without our options."""
    return commandline.again(config) if commandline.misread(config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers: one a backend, one a kind of measurement."""
    if config.getoption("--labkit-junit"):
        # The run's folder does not exist before something was measured: until then the file is in memory, where a
        # kill -9 leaves nothing of it. A file of the user's own is made where they want it, and copied.
        if config.option.xmlpath is None:
            config.stash[JUNIT_KEY] = os.memfd_create("labkit-junit")
            config.option.xmlpath = f"/proc/self/fd/{config.stash[JUNIT_KEY]}"
        else:
            _check_writable(Path(config.option.xmlpath))
    try:
        from labkit.backends import registry
    except ImportError as error:
        raise pytest.UsageError(str(lacking.as_error(error) or error)) from error

    output.tolerate(sys.stdout)  # pytest would write the whole summary as one escaped line
    if config.getoption("--topology"):
        try:
            _labs(config)  # bad input is told at once, before anything is collected
        except LabkitError as error:
            raise pytest.UsageError(str(error)) from error
    config.stash[REQUIRED_KEY] = _required(config.getoption("--labkit-require") or ())
    config.stash[TIMES_KEY] = times = _times(config)
    _check_engine(config)
    config.pluginmanager.register(
        Repeats(budget_s=times.retry_s, session=lambda: _session(config)), "labkit-repeats"
    )
    config.stash[COUNTED_KEY] = set()
    for name in registry.names():
        try:
            description = registry.load(name).description
        except (ImportError, AttributeError) as error:
            raise pytest.UsageError(f"labkit backend {name!r} does not load: {error}") from error
        config.addinivalue_line("markers", f"{name}: {description}")
    config.addinivalue_line(
        "markers",
        f"{LOWLATENCY}: wake-up latency of the host itself (cyclictest; oslat, hwlatdetect and rtla where they run), "
        "and the UDP round trip beside it",
    )
    for kind, description in KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {description}")
    config.addinivalue_line(
        "markers",
        "datapaths(frames=('64',), modes='all'|'default'): run the test once for every datapath that the "
        "chosen topologies have, and for each of these frame sizes",
    )
    config.addinivalue_line(
        "markers", "on(topology=..., mode='', frame='64'): where a test marked with a backend is measured"
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put junit.xml beside the results."""
    if not config.getoption("--labkit-junit"):
        return
    if JUNIT_KEY in config.stash:
        with os.fdopen(config.stash[JUNIT_KEY], "rb") as made:
            made.seek(0)
            text = made.read()
    else:
        own = Path(config.option.xmlpath)
        text = own.read_bytes() if own.is_file() else b""
        if text:
            hand_over(own)
    folder = config.stash[SESSION_KEY].recorder.folder if SESSION_KEY in config.stash else None
    if folder is not None and text:
        (folder / "junit.xml").write_bytes(text)
        hand_over(folder / "junit.xml")


def _check_writable(file: Path) -> None:
    """Raise UsageError where --junitxml can't be written: pytest itself would find out when all is measured."""
    from labkit.record.store import check_root

    there = file.exists()
    try:
        check_root(file.parent)
        if file.parent.is_dir():
            file.open("ab").close()
            if not there:
                file.unlink()
    except (EnvironmentBroken, OSError) as error:
        raise pytest.UsageError(f"--junitxml {file} can't be written: {error}") from error


def _fresh_line(reporter: Any) -> None:  # noqa: ANN401 - pytest's
    """End a line of dots, or of a test's name, that pytest has begun."""
    reporter.ensure_newline()
    if reporter._tw.width_of_current_line:
        reporter._tw.line()


def _session(config: pytest.Config) -> Session:
    if SESSION_KEY not in config.stash:
        from labkit.progress import StreamProgress
        from labkit.session.session import Session
        from labkit.session.settings import Settings

        capture = config.pluginmanager.getplugin("capturemanager")
        reporter = config.pluginmanager.getplugin("terminalreporter")
        config.stash[SESSION_KEY] = Session(
            Settings(
                quick=config.getoption("--labkit-quick"),
                rfc2544=config.getoption("--labkit-rfc2544"),
                tester_engine=config.getoption("--labkit-tester"),
                seed=config.getoption("--labkit-seed"),
                wait_s=config.stash[TIMES_KEY].wait_s,
                listen_s=LISTEN_S,
                retry_s=config.stash[TIMES_KEY].retry_s,
                results=Path(config.getoption("--labkit-results")),
                command=tuple(sys.argv),
            ),
            # Not to stderr, which tox shows in red.
            progress=StreamProgress(
                reporter._tw._file if reporter is not None else sys.__stdout__ or sys.stdout,
                around=capture.global_and_fixture_disabled if capture is not None else nullcontext,
                fresh_line=(lambda: _fresh_line(reporter)) if reporter is not None else None,
                where=lambda: config.stash[PACE_KEY].words if PACE_KEY in config.stash else "",
            ),
        )
    return config.stash[SESSION_KEY]


def _labs(config: pytest.Config) -> Labs:
    """The topologies of the run; read and checked once. Raises ConfigInvalid."""
    if LABS_KEY not in config.stash:
        config.stash[LABS_KEY] = Labs(config.getoption("--topology"))
    return config.stash[LABS_KEY]


@dataclass(frozen=True, slots=True)
class _Times:
    """How long to wait for the machine [s] (None: as long as it takes), and to measure again."""

    wait_s: float | None
    retry_s: float


def _times(config: pytest.Config) -> _Times:
    """Read --labkit-wait and --labkit-retry. Raises UsageError."""
    from labkit.session.reservation import parse_span, parse_wait

    try:
        return _Times(
            parse_wait(config.getoption("--labkit-wait"), option="--labkit-wait"),
            parse_span(config.getoption("--labkit-retry"), option="--labkit-retry"),
        )
    except ConfigInvalid as error:
        raise pytest.UsageError(str(error)) from error


def _check_engine(config: pytest.Config) -> None:
    """Raise UsageError where --labkit-tester is no engine on interfaces."""
    from labkit.testers.probe import interface_engine

    if (engine := config.getoption("--labkit-tester")) is not None:
        try:
            interface_engine(engine, option="--labkit-tester")
        except ConfigInvalid as error:
            raise pytest.UsageError(str(error)) from error


def _required(words: Sequence[str]) -> frozenset[str]:
    """The names in --labkit-require a,b --labkit-require c. Raises UsageError."""
    from labkit.backends import registry
    from labkit.yamlfile import suggest

    known = (*registry.names(), LOWLATENCY)
    names = [name.strip() for one in words for name in one.split(",")]
    for name in names:
        if name not in known:
            raise pytest.UsageError(f"--labkit-require {name!r}: no such backend ({suggest(name, known)})")
    return frozenset(names)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that measures its datapath: one by its backend marker, or every one there is."""
    if PARAMETER not in metafunc.fixturenames:
        return
    test, config = metafunc.definition, metafunc.config
    try:
        found = parameters(test, _labs(config), quick=config.getoption("--labkit-quick"))
    except LabkitError as error:
        path, line, _ = test.reportinfo()
        where = f"{path}:{(line or 0) + 1}"
        # An error of collection without a traceback: our lines say nothing about the user's.
        raise pytest.Collector.CollectError(f"{where}: {test.name}: {error}") from error
    metafunc.parametrize(PARAMETER, found, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the chosen topologies don't have; keep the tests of one datapath together (stable)."""
    if not any(measures(item) for item in items):
        return
    try:
        lacking.check()
    except EnvironmentBroken as error:
        pytest.exit(f"labkit: {error}", returncode=error.exit_code)
    out = [item for item in items if isinstance(subject_of(item), Elsewhere)]
    if out:
        config.stash[ELSEWHERE_KEY] = [f"{item.nodeid} {subject_of(item).reason}" for item in out]  # type: ignore[union-attr]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
    from labkit.session.datapaths import enumerate_datapaths

    order: dict[str, int] = {"": -1}  # the host itself, before any lab is up; and what is none of ours
    for datapath in enumerate_datapaths(_labs(config).chosen):
        order.setdefault(Subject(datapath.topology, datapath).group, len(order))

    def rank(item: pytest.Item) -> int:
        subject = subject_of(item)
        return order.setdefault(subject.group if isinstance(subject, Subject) else "", len(order))

    items.sort(key=rank)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what is going to be measured; a worker of pytest-xdist that should measure runs nothing at all."""
    found = [item for item in session.items if measures(item)]
    session.config.stash[SELECTED_KEY] = found
    kinds = {item.nodeid: getattr(item, "originalname", item.name) for item in found}
    session.config.stash[PACE_KEY] = Pace(kinds, clock=time.monotonic)
    worker: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if found and worker is not None:
        worker[commandline.MEASURES] = True
        session.items.clear()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - pytest-xdist's
    """Refuse, once and for all workers, to measure in several processes."""
    if getattr(node, "workeroutput", {}).get(commandline.MEASURES):
        raise commandline.several_processes(node.config)


@pytest.fixture
def labkit_target_of_test(request: pytest.FixtureRequest) -> Subject:
    """The datapath and frame size, or the host, that this test measures (set by its markers)."""
    subject: Subject = request.param
    return subject


@pytest.fixture
def measure(request: pytest.FixtureRequest, labkit_target_of_test: Subject) -> Iterator[HostMeasure]:
    """Measure the test's datapath: `.throughput()`, `.mrr()`, `.latency(load=...)`, `.loss_curve()`, `.back_to_back()`.

    And the host itself: `.wakeup()`, `.busy_loop()`, `.hardware()`, `.timerlat()`; a test marked lowlatency alone has
    these only. Skips, with the reason and the command that mends it, where this machine lacks what is needed.
    """
    from labkit.fixtures import HostMeasure, Measure

    session = _session(request.config)
    subject = labkit_target_of_test
    session.judge.hold()
    measured_before = _forget_for_rerun(session, request.node)
    request.config.stash[PACE_KEY].begin(request.node.nodeid)

    def skip(key: Key, reason: str) -> NoReturn:
        session.judge.skip(request.node.nodeid, key, reason)
        pytest.skip(reason)

    if subject.datapath is not None and (lacking := session.lacking(subject.datapath)):
        skip(subject.key, "; ".join(lacking))
    measured = (
        HostMeasure(session, subject.topology, skip=skip)
        if subject.datapath is None
        else Measure(
            session, subject.datapath, subject.frame, skip=skip, frame_may_not_fit=subject.everywhere
        )
    )
    request.node.stash[MEASURE_KEY] = measured
    try:
        yield measured
    finally:
        measured_before |= {measurement.key for measurement in measured.taken}
        session.progress.done()


@dataclass(slots=True)
class _Runs:
    """The runs of a test until now."""

    last: tuple[str, int] = ("", 0)
    """Node id and attempt."""
    measured: set[Key] = field(default_factory=set)


def _forget_for_rerun(session: Session, item: pytest.Item) -> set[Key]:
    """Have a rerun or repetition that a user asked for measure anew; returns where to note what it measures.

    Else it would judge remembered figures again. In an attempt of the session's own just what was invalid is
    forgotten already.
    """
    runs = item.config.stash.setdefault(RUNS_KEY, {}).setdefault(_identity(item), _Runs())
    this = (item.nodeid, session.recorder.attempts.number(item.nodeid))
    if this[0] != runs.last[0] or this[1] == runs.last[1]:
        session.recorder.forget(runs.measured)
    runs.last = this
    return runs.measured


def _identity(item: pytest.Item) -> tuple[object, ...]:
    """A test, whatever number of its repetition it is.

    Plugins that repeat tests either run one again or make copies that a parameter with a name in __ tells apart
    (pytest-repeat, pytest-flakefinder).
    """
    callspec = getattr(item, "callspec", None)
    indices: dict[str, int] = callspec.indices if callspec is not None else {}
    parent = item.parent.nodeid if item.parent is not None else ""
    own = sorted((name, index) for name, index in indices.items() if not name.startswith("__"))
    return (parent, getattr(item, "originalname", item.name), *own)


@pytest.fixture
def target(request: pytest.FixtureRequest, measure: HostMeasure) -> TargetCheck:
    """Hold a measurement to targets: `target(measurement, pdr=">= 10 Mpps", p99="<= 100 us")`."""
    from labkit.fixtures import TargetCheck

    return TargetCheck(_session(request.config), measure, request.node.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Give invalid measurements an outcome of their own; gather how the test ends, and store it."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, InvalidMeasurement):
        report.labkit_invalid = True  # type: ignore[attr-defined]
        if hasattr(report, "wasxfail"):
            del report.wasxfail  # an expected failure is one that was measured
        if item.config.getoption("--labkit-allow-invalid"):
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Invalid: {error}")
        else:
            report.outcome = "failed"
            report.longrepr = f"INVALID: {error}"
    elif isinstance(error, LabkitError) and not hasattr(report, "wasxfail"):
        report.longrepr = f"{type(error).__name__}: {error}"
    subject = subject_of(item)
    if isinstance(subject, Subject):
        _gather(item, subject, report, error)
        if report.when == "teardown" and PACE_KEY in item.config.stash:
            taken = item.stash[MEASURE_KEY].taken if MEASURE_KEY in item.stash else ()
            item.config.stash[PACE_KEY].end(item.nodeid, measured=bool(taken))
        if report.when == "teardown":
            _conclude(item, subject)
    if report.when == "call" or report.outcome != "passed":
        item.config.stash[COUNTED_KEY].add(report.outcome)
    return report  # type: ignore[return-value]


def _gather(
    item: pytest.Item, subject: Subject, report: pytest.TestReport, error: BaseException | None
) -> None:
    """Add a phase of a test to its ending; a skip of what is required becomes a failure."""
    from labkit.harness.outcomes import Ending

    ending = item.stash.setdefault(ENDING_KEY, Ending())
    expected = getattr(report, "wasxfail", None)
    if report.outcome == "skipped" and expected is not None:
        ending.expected = expected or "no reason given"
    elif report.outcome == "skipped" and not getattr(report, "labkit_invalid", False):
        ending.skipped = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        ending.skipped = ending.skipped.removeprefix("Skipped: ")
        if subject.backend in item.config.stash[REQUIRED_KEY]:
            ending.required = True
            report.outcome = "failed"
            report.longrepr = (
                f"{subject.backend} is required (--labkit-require), and skipped: {ending.skipped}"
            )
    elif report.outcome == "failed" and not isinstance(error, TargetMissed | InvalidMeasurement):
        if isinstance(error, LabkitError) and not isinstance(error, ConfigInvalid):
            ending.broken = _first_line(error)
        else:
            # Without an exception: a test that passed although it is expected to fail (xfail, strict).
            why = str(report.longrepr).partition("\n")[0] if error is None else _first_line(error)
            where = "" if report.when == "call" else f"{report.when}: "
            ending.failed = ending.failed or f"{where}{why}"
            ending.bad_input = isinstance(error, ConfigInvalid)


def _first_line(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    if isinstance(error, LabkitError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _conclude(item: pytest.Item, subject: Subject) -> None:
    """Store the verdicts of a test that has ended. Bad input that was found before anything else leaves nothing."""
    from labkit.harness.outcomes import Ending, conclude

    config = item.config
    ending = item.stash.get(ENDING_KEY, Ending())
    measured = item.stash.get(MEASURE_KEY, None)
    item.stash[ENDING_KEY] = Ending()  # a rerun of the same test begins anew
    if measured is not None:
        del item.stash[MEASURE_KEY]
    held = config.stash[SESSION_KEY].judge.take() if SESSION_KEY in config.stash else ()
    if measured is None and not ending.happened and not held:
        return
    session = _session(config)
    if ending.bad_input and session.recorder.folder is None:
        return
    by_author = bool(measured is None and ending.skipped and not ending.required and not held)
    verdicts = conclude(
        item.nodeid,
        ending,
        held,
        tried=subject.key if measured is None else measured.key,
        measured=() if measured is None else measured.taken,
        attempt=session.recorder.attempts.number(item.nodeid),
    )
    if by_author and session.recorder.folder is None:
        config.stash.setdefault(LATER_KEY, []).extend(verdicts)
        return
    try:
        session.recorder.store_verdicts(verdicts)
    except LabkitError as late:
        # Results can be stored no more (a full disk): then nothing that follows could be.
        item.session.shouldfail = f"labkit: {late.message}"


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Count invalid apart from failed, skipped and passed."""
    if getattr(report, "labkit_invalid", False):
        return "invalid", "I", ("INVALID", {"yellow": True})
    return None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Take the lab down and write results, whatever ended the run. A run that measured nothing does not end well."""
    config = session.config
    if SESSION_KEY in config.stash:
        state: Session = config.stash[SESSION_KEY]
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        try:
            if state.recorder.folder is not None:
                later = config.stash.get(LATER_KEY, None)
                state.recorder.store_verdicts(later or ())
            state.close(interrupted=interrupted)
        except EnvironmentBroken as error:
            config.get_terminal_writer().line(f"labkit: {error}", red=True)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            return
    option = config.option
    if option.collectonly or getattr(option, "setuponly", False) or getattr(option, "setupplan", False):
        return
    if hasattr(config, "workerinput"):
        return
    passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if not passed and session.exitstatus != pytest.ExitCode.TESTS_FAILED:
        return  # it did not come to measuring, and says why itself
    missing = _not_selected(config)
    nothing = _nothing_measured(config) if passed else ""
    problems = [*missing, *([nothing] if nothing else [])]
    config.stash[PROBLEMS_KEY] = problems
    if missing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif nothing:
        session.exitstatus = NOTHING_MEASURED
    if not config.pluginmanager.has_plugin("terminalreporter"):
        for problem in problems:
            print(f"labkit: {problem}", file=sys.stderr)


def _not_selected(config: pytest.Config) -> list[str]:
    """What is required, but no test of it was selected."""
    subjects = [subject_of(item) for item in config.stash.get(SELECTED_KEY, ())]
    there = {subject.backend for subject in subjects if isinstance(subject, Subject)}
    return [
        f"{name} is required (--labkit-require), but no test of it was selected"
        for name in sorted(config.stash[REQUIRED_KEY] - there)
    ]


def _nothing_measured(config: pytest.Config) -> str:
    """What to say where there were tests to measure with, and all that ran was skipped. Empty: all is well."""
    selected = config.stash.get(SELECTED_KEY, [])
    finished = config.stash[SESSION_KEY].recorder.finished if SESSION_KEY in config.stash else None
    if not selected and config.getoption(
        "--labkit-junit"
    ):  # as `labkit run` says it: nothing else was to run
        return (
            "nothing was measured: no test of the suite has these markers on these topologies "
            f"(labkit run -- --collect-only -q lists what there is); exit code {NOTHING_MEASURED}"
        )
    if not selected or config.stash[COUNTED_KEY] - {"skipped"}:
        return ""
    if finished is not None and (finished.measurements or finished.former_measurements):
        return ""
    tests = "1 test was" if len(selected) == 1 else f"all {len(selected)} tests were"
    return f"nothing was measured: {tests} skipped (-rs tells why); exit code {NOTHING_MEASURED}"


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:  # noqa: ANN401
    """The table of the run, what was invalid and why, what was left out, and what else ended the run badly."""
    elsewhere, problems = config.stash.get(ELSEWHERE_KEY, []), config.stash.get(PROBLEMS_KEY, [])
    state = config.stash.get(SESSION_KEY, None)
    invalid = terminalreporter.stats.get("invalid", []) if state is not None else []
    if invalid:
        terminalreporter.section("invalid: neither pass nor fail", yellow=True)
        for report in invalid:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.write_line(f"{report.nodeid}: {reason}")
    writer = terminalreporter._tw
    text = ""
    if state is not None:
        text = state.recorder.summary(
            width=writer.fullwidth if output.is_terminal(writer._file) else None,
            encoding=getattr(writer._file, "encoding", None),
        )
    if text or elsewhere or problems:
        terminalreporter.section("labkit")
        terminalreporter.write(text)
    for line in elsewhere:
        terminalreporter.write_line(f"deselected: {line}")
    for line in problems:
        terminalreporter.write_line(f"labkit: {line}", red=True)
