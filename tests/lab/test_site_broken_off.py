"""site.yml killed in the midst of each task that changes something, one after the other on one host."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.labkit.host.plugins.module_utils import snapshot
from test_site_container import INVENTORY, changed, stock

pytestmark = [pytest.mark.beside, pytest.mark.long]

DELAYS_S = (0.05, 0.3, 0.6, 0.9)
"""Into the task: before its module runs, in it, and after it."""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A stock host, with its inventory in it."""
    with stock(tmp_path_factory.mktemp("container")) as made:
        yield made


def test_run_that_was_killed_again_and_again_comes_right_and_can_be_taken_back(host):
    before = host.snapshot()
    tasks = changed(host.play("site.yml", INVENTORY, "--check"))
    assert len(tasks) >= 10, tasks

    reached = [
        host.play_until(task, "site.yml", INVENTORY, delay_s=delay_s)
        for task, delay_s in zip(tasks, itertools.cycle(DELAYS_S), strict=False)
    ]

    assert all(reached), [task for task, was in zip(tasks, reached, strict=True) if not was]
    finished = host.play("site.yml", INVENTORY)
    assert finished.returncode == 0, finished.stdout[-4000:]
    again = host.play("site.yml", INVENTORY)
    assert (again.returncode, changed(again)) == (0, []), again.stdout[-4000:]
    reverted = host.play("revert.yml", INVENTORY)
    assert reverted.returncode == 0, reverted.stdout[-4000:]
    assert snapshot.compare(before, host.snapshot()) == []
