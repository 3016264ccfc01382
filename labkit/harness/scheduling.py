"""Which worker of pytest-xdist runs which tests, as its controller asks for it.

A unit is run by one worker, in its order. pytest-xdist's own schedulers go by the ids of tests (the marks of --dist
loadgroup among them), which say nothing about the machines that a lab takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class WorkerNode(Protocol):
    """A worker, as pytest-xdist has it."""

    @property
    def shutting_down(self) -> bool:
        """Whether it takes no more tests."""
        ...

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Have it run these tests of its collection."""
        ...

    def shutdown(self) -> None:
        """Have it end after the tests that it has."""
        ...


Collections = Mapping[WorkerNode, Sequence[str]]
"""By worker, the ids of the tests that it has collected."""


class ByUnit:
    """Hands out whole units. A worker that needs one gets the next."""

    collection_is_completed = True

    def __init__(self, units: Sequence[Sequence[str]], collections: Collections) -> None:
        """`collections`: all the same, which the caller has checked."""
        self._waiting = deque(list(unit) for unit in units)
        self._ids = list(next(iter(collections.values())))
        self._index = {test: index for index, test in enumerate(self._ids)}
        self._given: dict[WorkerNode, list[str]] = {node: [] for node in collections}
        """What each worker has still to run."""

    @property
    def nodes(self) -> list[WorkerNode]:
        """The workers."""
        return list(self._given)

    @property
    def tests_finished(self) -> bool:
        """Whether nothing is left to hand out. A worker runs its last test once it knows that there is no other."""
        return not self._waiting and all(len(tests) < 2 for tests in self._given.values())

    @property
    def has_pending(self) -> bool:
        """Whether a test has not been run."""
        return bool(self._waiting) or any(self._given.values())

    def add_node(self, node: WorkerNode) -> None:
        """A worker in place of one that was killed: it has yet to collect."""
        self._given[node] = []

    def add_node_collection(self, node: WorkerNode, collection: Sequence[str]) -> None:
        """What such a worker has collected. One with other tests is of no use."""
        if list(collection) != self._ids:
            node.shutdown()

    def mark_test_complete(self, node: WorkerNode, item_index: int, duration: float = 0) -> None:
        """A worker has run a test."""
        self._given[node].remove(self._ids[item_index])
        self._feed(node)

    def remove_node(self, node: WorkerNode) -> str | None:
        """A worker is gone. Returns the test that it was running; the rest of its unit is for another worker."""
        left = self._given.pop(node)
        if left[1:]:
            self._waiting.appendleft(left[1:])
        return left[0] if left else None

    def schedule(self) -> None:
        """Hand out units to all workers that need one: a first one to each before any gets a second."""
        for node in self._given:
            if self._waiting and not self._given[node] and not node.shutting_down:
                self._give(node)
        for node in self._given:
            self._feed(node)

    def _feed(self, node: WorkerNode) -> None:
        """A worker must know what follows its last test, before it runs that."""
        while len(self._given[node]) < 2 and not node.shutting_down:
            if not self._waiting:
                node.shutdown()
                return
            self._give(node)

    def _give(self, node: WorkerNode) -> None:
        unit = self._waiting.popleft()
        self._given[node] += unit
        node.send_runtest_some([self._index[test] for test in unit])


class Undecided:
    """The scheduler that the user chose, until all workers have collected: then it may turn out that tests measure."""

    def __init__(self, chosen: Any, decide: Callable[[Collections], ByUnit | None]) -> None:  # noqa: ANN401 - xdist's
        """`decide`: the scheduler to use instead; None: the one that was chosen."""
        self._scheduler = chosen
        self._decide: Callable[[Collections], ByUnit | None] | None = decide
        self._collections: dict[WorkerNode, Sequence[str]] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of another scheduler
        return getattr(self._scheduler, name)

    def add_node_collection(self, node: WorkerNode, collection: Sequence[str]) -> None:
        """Pass it on, and remember it."""
        self._collections[node] = collection
        self._scheduler.add_node_collection(node, collection)

    def remove_node(self, node: WorkerNode) -> str | None:
        """Pass it on, and forget the worker."""
        self._collections.pop(node, None)
        gone: str | None = self._scheduler.remove_node(node)
        return gone

    def schedule(self) -> None:
        """Decide, the first time; then pass it on."""
        decide, self._decide = self._decide, None
        if decide is not None:
            self._scheduler = decide(self._collections) or self._scheduler
        self._scheduler.schedule()
