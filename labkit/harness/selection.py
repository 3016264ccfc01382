"""Which of the collected tests run, and in which order."""

from __future__ import annotations

import time

import pytest

from labkit.harness.collecting import Elsewhere, Subject, subject_of
from labkit.harness.pace import Pace
from labkit.harness.selected import selection_of
from labkit.harness.state import PluginState


def leave_out(config: pytest.Config, state: PluginState, items: list[pytest.Item]) -> None:
    """Deselect the tests of topologies that the user did not choose."""
    reasons = {item: subject.reason for item in items if isinstance(subject := subject_of(item), Elsewhere)}
    if not reasons:
        return
    state.elsewhere += [f"{item.nodeid} {reason}" for item, reason in reasons.items()]
    config.hook.pytest_deselected(items=list(reasons))
    items[:] = [item for item in items if item not in reasons]


def sort(state: PluginState, items: list[pytest.Item]) -> None:
    """Keep the tests of one datapath together, in the order of the topologies (stable)."""
    from labkit.session.datapaths import enumerate_datapaths

    order: dict[str, int] = {"": -1}  # the host itself, before any lab is up; and tests that are not labkit's
    for datapath in enumerate_datapaths(state.topologies.chosen):
        order.setdefault(Subject(datapath.topology, datapath).group, len(order))

    def rank(item: pytest.Item) -> int:
        subject = subject_of(item)
        return order.setdefault(subject.group if isinstance(subject, Subject) else "", len(order))

    items.sort(key=rank)


def finish(session: pytest.Session, state: PluginState) -> None:
    """Note what is going to be measured."""
    state.selection = selection_of(session.items, state.elsewhere)
    if state.worker is not None:
        if state.selection.tests or state.selection.elsewhere:
            state.worker.report(state.selection, session)
    else:
        functions = {test.id: test.function for test in state.selection.tests}
        state.pace = Pace(functions, clock=time.monotonic)


def begin(state: PluginState, test: str) -> None:
    """A test begins to measure. A worker of pytest-xdist is given tests by the lab: its pace is that of the lab."""
    if state.worker is not None and (state.pace is None or not state.pace.knows(test)):
        tests = state.selection.tests
        lab = next((one.topology for one in tests if one.id == test), "")
        functions = {one.id: one.function for one in tests if one.topology == lab}
        state.pace = Pace(functions, clock=time.monotonic, of=lab)
    if state.pace is not None:
        state.pace.begin(test)
