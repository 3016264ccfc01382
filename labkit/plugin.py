"""The pytest plugin: options, markers, fixtures and the closing summary.

It decides nothing about figures: it asks the session to measure and the targets to judge, and turns verdicts
into outcomes. A test becomes a labkit test by asking for the `measure` fixture.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from labkit import output
from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError
from labkit.ownership import hand_over
from labkit.verdicts import InvalidMeasurement

if TYPE_CHECKING:
    from labkit.datapaths import Datapath
    from labkit.fixtures import HostMeasure, TargetCheck
    from labkit.results.model import Key
    from labkit.session import Session
    from labkit.topology import Topology

KINDS = {
    "throughput": "measures NDR, PDR and MRR",
    "latency": "measures round-trip times at stated loads",
    "loss": "measures the frame loss curve (RFC 2544 26.3)",
    "burst": "measures back-to-back frames (RFC 9004)",
    "slow": "takes minutes: more frame sizes, longer trials",
}
LOWLATENCY = "lowlatency"
"""Marker of tests of the host itself: no backend, no packet."""
SESSION_KEY = pytest.StashKey["Session"]()
TOPOLOGIES_KEY = pytest.StashKey[list["Topology"]]()
JUNIT_KEY = pytest.StashKey[int]()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a test measures: a datapath with frames of a size, or the host of a lab."""

    topology: Topology
    datapath: Datapath | None = None
    frame: str = ""

    @property
    def key(self) -> Key:
        """Its row of the results."""
        from labkit.results.model import Key

        return (
            Key.of_host(self.topology.name) if self.datapath is None else self.datapath.key(frame=self.frame)
        )


def _of_datapath(datapath: Datapath, frame: str) -> Subject:
    return Subject(datapath.topology, datapath, frame)


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
        choices=["xdp", "packet"],
        help="tester engine on interfaces: xdp or packet",
    )
    group.addoption(
        "--labkit-seed", type=int, default=None, metavar="N", help="seed of everything random (recorded)"
    )
    group.addoption(
        "--labkit-allow-invalid",
        action="store_true",
        help="invalid measurements (noise, unproven mode) do not fail the run; they stay counted",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers: one a backend, one a kind of measurement."""
    if config.getoption("--labkit-junit"):
        # The run's folder does not exist before something was measured: until then the file is in memory, where a
        # kill -9 leaves nothing of it.
        config.stash[JUNIT_KEY] = os.memfd_create("labkit-junit")
        config.option.xmlpath = f"/proc/self/fd/{config.stash[JUNIT_KEY]}"
    from labkit.backends import registry

    output.tolerate(sys.stdout)  # pytest would write the whole summary as one escaped line
    if config.getoption("--topology"):
        _topologies(config)  # bad input is told at once, before anything is collected
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
    if JUNIT_KEY not in config.stash:
        return
    with os.fdopen(config.stash[JUNIT_KEY], "rb") as made:
        made.seek(0)
        text = made.read()
    folder = config.stash[SESSION_KEY].folder if SESSION_KEY in config.stash else None
    if folder is not None and text:
        (folder / "junit.xml").write_bytes(text)
        hand_over(folder / "junit.xml")


def _session(config: pytest.Config) -> Session:
    if SESSION_KEY not in config.stash:
        from labkit.progress import StreamProgress
        from labkit.session import Session, Settings

        capture = config.pluginmanager.getplugin("capturemanager")
        around = {"around": capture.global_and_fixture_disabled} if capture is not None else {}
        config.stash[SESSION_KEY] = Session(
            Settings(
                quick=config.getoption("--labkit-quick"),
                rfc2544=config.getoption("--labkit-rfc2544"),
                tester_engine=config.getoption("--labkit-tester"),
                seed=config.getoption("--labkit-seed"),
                results=Path(config.getoption("--labkit-results")),
                command=tuple(sys.argv),
            ),
            progress=StreamProgress(sys.__stderr__ or sys.stderr, **around),
        )
    return config.stash[SESSION_KEY]


def _topologies(config: pytest.Config) -> list[Topology]:
    """The chosen labs, or those that labkit ships; read and checked once."""
    if TOPOLOGIES_KEY not in config.stash:
        from labkit.datapaths import DEFAULT_TOPOLOGIES
        from labkit.preflight import load_all

        try:
            config.stash[TOPOLOGIES_KEY] = load_all(config.getoption("--topology") or DEFAULT_TOPOLOGIES)
        except LabkitError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[TOPOLOGIES_KEY]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that measures its datapath: one by its backend marker, or every one there is."""
    if "labkit_target_of_test" not in metafunc.fixturenames:
        return
    from labkit.backends import registry
    from labkit.datapaths import default_datapath, enumerate_datapaths

    topologies = _topologies(metafunc.config)
    everywhere = metafunc.definition.get_closest_marker("datapaths")
    if everywhere is not None:
        frames = tuple(str(f) for f in everywhere.kwargs.get("frames", ("64",)))
        default_only = everywhere.kwargs.get("modes", "all") == "default" or metafunc.config.getoption(
            "--labkit-quick"
        )
        parameters = [
            pytest.param(
                _of_datapath(datapath, frame),
                id=datapath.key(frame=frame).id,
                marks=[getattr(pytest.mark, datapath.backend.name)],
            )
            for datapath in enumerate_datapaths(topologies)
            for frame in frames
            if not default_only or datapath.is_default_mode
        ]
        metafunc.parametrize("labkit_target_of_test", parameters, indirect=True)
        return
    names = [name for name in registry.names() if metafunc.definition.get_closest_marker(name)]
    if not names and metafunc.definition.get_closest_marker(LOWLATENCY):
        metafunc.parametrize("labkit_target_of_test", [_host_of(topologies)], indirect=True)
        return
    if not names:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid} uses the measure fixture: mark it with a backend "
            f"({', '.join(registry.names())}), with {LOWLATENCY} or with @pytest.mark.datapaths()"
        )
    where = metafunc.definition.get_closest_marker("on")
    options = where.kwargs if where is not None else {}
    parameters = []
    for name in names:
        try:
            datapath = default_datapath(
                name, topologies, topology=options.get("topology"), mode=options.get("mode", "")
            )
        except ConfigInvalid as error:
            if metafunc.config.getoption("--topology") and not options.get("topology"):
                continue  # the user chose topologies on which this backend is not measured
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: {error}") from error
        frame = str(options.get("frame", "64"))
        parameters.append(pytest.param(_of_datapath(datapath, frame), id=datapath.key(frame=frame).id))
    metafunc.parametrize("labkit_target_of_test", parameters, indirect=True)


def _host_of(topologies: list[Topology]) -> Any:  # noqa: ANN401 - pytest does not give its ParameterSet away
    """The one host that is measured: this one, as the first lab that declares hardware describes it, else the first."""
    real = [t for t in topologies if t.tier != "simulated"]
    if not real:
        skip = pytest.mark.skip(reason="every chosen topology is simulated: there is no host to measure")
        return pytest.param(None, id=LOWLATENCY, marks=skip)
    subject = Subject(min(real, key=lambda t: t.tier != "hardware"))
    return pytest.param(subject, id=subject.key.id)


def _rank(item: pytest.Item, order: dict[str, int]) -> tuple[int, str]:
    callspec = getattr(item, "callspec", None)
    subject = callspec.params.get("labkit_target_of_test") if callspec is not None else None
    if not isinstance(subject, Subject):
        return (-1, "")
    datapath = subject.datapath
    if datapath is None:
        return (-1, "")  # the host itself, before any lab is up
    group = f"{datapath.topology.name}/{datapath.backend.name}/{datapath.mode.name}"
    return (order.setdefault(group, len(order)), "")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of one datapath together (stable), so that a lab and its DUT come up once."""
    if not any("labkit_target_of_test" in getattr(item, "fixturenames", ()) for item in items):
        return
    from labkit.datapaths import enumerate_datapaths

    order: dict[str, int] = {}
    for datapath in enumerate_datapaths(_topologies(config)):
        order.setdefault(f"{datapath.topology.name}/{datapath.backend.name}/{datapath.mode.name}", len(order))
    items.sort(key=lambda item: _rank(item, order))


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

    def skip(key: Key, reason: str) -> NoReturn:
        session.record_skip(request.node.nodeid, key, reason)
        pytest.skip(reason)

    if subject.datapath is not None and (lacking := session.lacking(subject.datapath)):
        skip(subject.key, "; ".join(lacking))
    try:
        yield (
            HostMeasure(session, subject.topology, skip=skip)
            if subject.datapath is None
            else Measure(session, subject.datapath, subject.frame, skip=skip)
        )
    finally:
        session.progress.done()


@pytest.fixture
def target(request: pytest.FixtureRequest, measure: HostMeasure) -> TargetCheck:
    """Hold a measurement to targets: `target(measurement, pdr=">= 10 Mpps", p99="<= 100 us")`."""
    from labkit.fixtures import TargetCheck

    return TargetCheck(_session(request.config), measure, request.node.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Give invalid measurements an outcome of their own."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if call.excinfo is not None and call.excinfo.errisinstance(InvalidMeasurement):
        report.labkit_invalid = True  # type: ignore[attr-defined]
        text = str(call.excinfo.value)
        if item.config.getoption("--labkit-allow-invalid"):
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Invalid: {text}")
        else:
            report.longrepr = f"INVALID: {text}"
    elif call.excinfo is not None and call.excinfo.errisinstance(LabkitError):
        report.longrepr = f"{type(call.excinfo.value).__name__}: {call.excinfo.value}"
        _record_broken(item, call.excinfo.value)
    return report  # type: ignore[return-value]


def _record_broken(item: pytest.Item, error: BaseException) -> None:
    """Count a measurement that broke off as failed in the results, as pytest does. Bad input measures nothing."""
    callspec = getattr(item, "callspec", None)
    subject = callspec.params.get("labkit_target_of_test") if callspec is not None else None
    if (
        not isinstance(subject, Subject)
        or SESSION_KEY not in item.config.stash
        or isinstance(error, ConfigInvalid)
    ):
        return
    measured = getattr(item, "funcargs", {}).get("measure")
    try:
        item.config.stash[SESSION_KEY].record_broken(
            item.nodeid, getattr(measured, "key", subject.key), error
        )
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
    """Take the lab down and write results, whatever ended the run."""
    if SESSION_KEY in session.config.stash:
        state: Session = session.config.stash[SESSION_KEY]
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        try:
            state.close(interrupted=interrupted)
        except EnvironmentBroken as error:
            session.config.get_terminal_writer().line(f"labkit: {error}", red=True)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:  # noqa: ANN401
    """The table of the run, and what was invalid and why."""
    if SESSION_KEY not in config.stash:
        return
    state = config.stash[SESSION_KEY]
    invalid = terminalreporter.stats.get("invalid", [])
    if invalid:
        terminalreporter.section("invalid: neither pass nor fail", yellow=True)
        for report in invalid:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.write_line(f"{report.nodeid}: {reason}")
    writer = terminalreporter._tw
    text = state.summary(
        width=writer.fullwidth if output.is_terminal(writer._file) else None,
        encoding=getattr(writer._file, "encoding", None),
    )
    if text:
        terminalreporter.section("labkit")
        terminalreporter.write(text)
