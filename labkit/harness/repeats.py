"""The part of the pytest plugin that repeats measurements which were disturbed for a transient reason.

A test that was disturbed is withheld: it is reported to pytest after the other tests, when its further attempts are
made or the budget is used up. So it is reported once: on the terminal, in junit.xml and in the exit code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from labkit.errors import LabkitError
from labkit.harness import terminal
from labkit.harness.collecting import Subject, measures, subject_of
from labkit.session.attempts import CONNECTION_LOST, lasts

if TYPE_CHECKING:
    from labkit.harness.state import PluginState
    from labkit.session.session import Session

PAUSES_S = (0.0, 2.0, 5.0, 10.0, 20.0)
"""Pauses before the rounds of attempts; the last value repeats. They give a disturbance time to end."""
AROUND_S = 1.5
"""Time that an attempt takes besides its measurements: a lab and a DUT come up."""
AGAIN = "again"
STAYS = "for reasons that a repetition would not change, see above"


@dataclass(slots=True)
class _Withheld:
    """A test that was not yet reported to pytest."""

    item: pytest.Item
    reports: Sequence[pytest.TestReport]
    attempt: int
    """Their number."""
    reasons: frozenset[str]
    """Why it is repeated."""


class Repeats:
    """Registered by labkit.plugin for every run that measures."""

    def __init__(
        self,
        *,
        budget_s: float,
        busy_budget_s: float,
        state: PluginState,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget_s = budget_s
        self._busy_budget_s = busy_budget_s
        self._state = state
        self._clock = clock
        self._withheld: list[_Withheld] = []
        self._attempt: list[pytest.TestReport] | None = None
        """Reports of the further attempt that is being made; None: none is."""
        self._over = False
        self._rounds = 0
        """How many rounds of further attempts there were."""
        self._invalid: dict[str, int] = {}
        """Tests that stayed invalid, and the number of attempts at each."""
        self._reasons: set[str] = set()
        """Why."""
        self._announced: set[str] = set()
        """Tests that were announced to be repeated, and not reported since."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """Run a measuring test, and withhold its report if it is worth another attempt."""
        if self._attempt is not None:
            self._attempt += runtestprotocol(item, nextitem=nextitem, log=False)
            return True
        if self._over or not self._budget_s or not isinstance(subject_of(item), Subject):
            return None
        if _is_rerun_by_another(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if self._is_disturbed(item, reports):
            self._withheld.append(_Withheld(item, reports, 1, _reasons(self._session(), item.nodeid)))
            item.ihook.pytest_runtest_logreport(report=_announcement(reports))
        else:
            self._report(item, reports, 1, _reasons(self._session(), item.nodeid))
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        """Reserve the machine before the first test; after the last one repeat the tests that are withheld."""
        self._reserve(session)
        try:
            result = yield
            self._repeat(session)
        finally:
            self._over = True
            self._attempt = None
            for one in self._withheld:
                self._report(one.item, one.reports, one.attempt, one.reasons)
            self._withheld.clear()
        return result

    @property
    def never_reported(self) -> Sequence[str]:
        """Tests that were announced to be repeated by a worker which was killed."""
        return sorted(self._announced)

    def _session(self) -> Session:
        return self._state.session

    def _is_disturbed(self, item: pytest.Item, reports: Sequence[pytest.TestReport]) -> bool:
        """Whether another attempt may help: one that failed as well is not measured again, nor one that is skipped."""
        invalid = any(getattr(r, "labkit_invalid", False) for r in reports)
        clean = all(r.passed or getattr(r, "labkit_invalid", False) for r in reports)
        ran = invalid or _is_measured(reports)
        return clean and ran and self._session().recorder.attempts.worthwhile(item.nodeid)

    def _reserve(self, session: pytest.Session) -> None:
        """Refuse the whole run if another process measures on this machine, or a host of its labs is unknown."""
        if self._state.worker is not None:
            return  # its controller does, which knows what each worker measures
        option = session.config.option
        if option.collectonly or getattr(option, "setuponly", False) or getattr(option, "setupplan", False):
            return
        found = [subject_of(item) for item in session.items if measures(item)]
        topologies = {one.topology.name: one.topology for one in found if isinstance(one, Subject)}.values()
        if all(topology.tier == "simulated" for topology in topologies):
            return
        try:
            self._session().find_hosts(topologies)
            if any(self._session().on_this_machine(topology) for topology in topologies):
                self._session().reserve()
        except LabkitError as error:
            pytest.exit(f"labkit: {error}", returncode=error.exit_code)

    def _repeat(self, session: pytest.Session) -> None:
        """Rounds of attempts, with growing pauses, until all are valid or the budget is used up."""
        if not self._withheld:
            return
        own = self._session()
        live = any(_tier(one.item) != "simulated" for one in self._withheld)
        budget_s = self._busy_budget_s if live and _stays_busy(own) else self._budget_s
        end = self._clock() + budget_s
        shorter = "" if budget_s == self._budget_s else " (other programs keep this machine busy)"
        reasons = ", ".join(sorted({reason for one in self._withheld for reason in one.reasons}))
        own.progress.say(
            f"{_tests(len(self._withheld))} {self._words()} ({reasons}): repeating, for up to {budget_s:g} s{shorter}"
        )
        while self._withheld and not (session.shouldfail or session.shouldstop):
            pause_s = PAUSES_S[min(self._rounds, len(PAUSES_S) - 1)] if live else 0.0
            able = [w for w in self._withheld if self._cost_s(w.item.nodeid) <= end - self._clock() - pause_s]
            if not able or (not live and self._rounds >= len(PAUSES_S)):
                return
            if pause_s:
                own.progress.phase(
                    f"{_tests(len(self._withheld))} still {self._words()}: pausing for {pause_s:g} s"
                )
                own.listen(pause_s)
            self._rounds += 1
            self._round(session, able, end)

    def _words(self) -> str:
        """Invalid; disturbed, where bounds were met all the same; or both, of several tests."""
        invalid = [any(getattr(r, "labkit_invalid", False) for r in one.reports) for one in self._withheld]
        return "invalid" if all(invalid) else "invalid or disturbed" if any(invalid) else "disturbed"

    def _round(self, session: pytest.Session, able: Sequence[_Withheld], end: float) -> None:
        own = self._session()
        for one in able:
            if session.shouldfail or session.shouldstop:
                return
            if self._cost_s(one.item.nodeid) > end - self._clock():
                continue
            own.repeat(one.item.nodeid)
            one.reports = self._run_again(one.item)
            one.attempt = own.recorder.attempts.number(one.item.nodeid)
            one.reasons = _reasons(own, one.item.nodeid)
            if not self._is_disturbed(one.item, one.reports):
                self._withheld.remove(one)
                self._report(one.item, one.reports, one.attempt, one.reasons)

    def _run_again(self, item: pytest.Item) -> Sequence[pytest.TestReport]:
        """Run a test through the hooks of all plugins (a timeout, faulthandler), and withhold its reports.

        No test follows it for pytest, so that all fixtures are torn down: whether the next one still fits into the
        budget is known only afterwards.
        """
        self._attempt = []
        try:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            return self._attempt
        finally:
            self._attempt = None

    def _cost_s(self, test: str) -> float:
        return AROUND_S + sum(m.duration_s for m in self._session().recorder.to_repeat(test))

    def _report(
        self,
        item: pytest.Item,
        reports: Sequence[pytest.TestReport],
        attempt: int,
        reasons: frozenset[str],
    ) -> None:
        if self._state.worker is not None:
            self._state.worker.about_to_report(item.session, item)
        for report in reports:
            report.labkit_attempt, report.labkit_reasons = attempt, sorted(reasons)  # type: ignore[attr-defined]
            if attempt > 1 and _is_measured(reports):
                report.user_properties.append(("labkit_attempt", attempt))
            item.ihook.pytest_runtest_logreport(report=report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what stays invalid also of a test that another plugin reruns: how its last run ends."""
        if report.when == "call" or report.outcome != "passed":
            self._state.outcomes.add(report.outcome)
        if str(report.outcome) == AGAIN:
            self._announced.add(report.nodeid)
        elif report.when in ("call", "setup"):
            self._announced.discard(report.nodeid)
        if getattr(report, "labkit_invalid", False) and str(report.outcome) != "rerun":
            self._invalid[report.nodeid] = getattr(report, "labkit_attempt", 1)
            reasons = getattr(report, "labkit_reasons", None)  # none: another plugin reruns it
            self._reasons |= _reasons(self._session(), report.nodeid) if reasons is None else set(reasons)

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:  # noqa: ANN401
        """Say that the test will be run again."""
        if report.outcome != AGAIN:
            return None
        word = "INVALID" if report.labkit_announced_invalid else "DISTURBED"
        return "measured again", "A", (f"{word}, will be repeated", {"yellow": True})

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """The last line, if a test stayed invalid: why, and what to do."""
        if self._invalid and self._state.worker is None:
            terminal.last_line(config, f"labkit: {self._closing()}", yellow=True)

    def _closing(self) -> str:
        own = self._session()
        used = f": {own.usage.describe()}" if own.usage is not None and own.usage.busy else ""
        most = max(self._invalid.values())
        attempts = f" after {'' if len(self._invalid) == 1 else 'up to '}{most} attempts" if most > 1 else ""
        why = ", ".join(sorted(self._reasons - {STAYS})) or STAYS
        when = "the host is back" if self._reasons == {CONNECTION_LOST} else "the machine is idle"
        rest = "" if STAYS in why else f"; repeat the run when {when}"
        return f"{_tests(len(self._invalid))} invalid{attempts} ({why}){used}{rest}"


def _stays_busy(session: Session) -> bool:
    """Whether other programs keep the machine busy since the run began."""
    before = session.usage
    if not lasts(before, before):
        return False
    session.listen(PAUSES_S[1])
    return lasts(before, session.usage)


def _is_rerun_by_another(item: pytest.Item) -> bool:
    """Whether another plugin reruns the test (pytest-rerunfailures, flaky) and withholds it itself."""
    asked = any(item.config.getoption(name, None) for name in ("reruns", "force_flaky"))
    return asked or item.get_closest_marker("flaky") is not None


def _tests(number: int) -> str:
    return "1 test is" if number == 1 else f"{number} tests are"


def _tier(item: pytest.Item) -> str:
    subject = subject_of(item)
    return str(subject.topology.tier) if isinstance(subject, Subject) else ""


def _reasons(session: Session, test: str) -> frozenset[str]:
    return frozenset(session.recorder.reasons(test) or {STAYS})


def _is_measured(reports: Sequence[pytest.TestReport]) -> bool:
    """Whether it came so far that it measured."""
    return any(r.when == "call" or getattr(r, "labkit_invalid", False) for r in reports)


def _announcement(reports: Sequence[pytest.TestReport]) -> pytest.TestReport:
    """A report in place of the one that is withheld; pytest does not count it."""
    call = next((report for report in reports if report.when == "call"), reports[0])
    announcement = pytest.TestReport(
        nodeid=call.nodeid,
        location=call.location,
        keywords=call.keywords,
        outcome=AGAIN,  # type: ignore[arg-type]  # as pytest-rerunfailures' "rerun": none of pytest's own
        longrepr=None,
        when="call",
    )
    announcement.labkit_announced_invalid = getattr(call, "labkit_invalid", False)  # type: ignore[attr-defined]
    return announcement
