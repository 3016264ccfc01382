"""Two who write at once: a module that goes on when SSH has dropped, and the run that its operator begins anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.labkit.host.plugins.module_utils.state import State


def at_once(*works):
    with ThreadPoolExecutor(len(works)) as pool:
        for work in [pool.submit(work) for work in works]:
            work.result(timeout=60)


def test_of_two_who_write_at_once_nothing_is_lost(tmp_path):
    def writer(name):
        for number in range(20):
            State("boot", tmp_path).note("file", f"/{name}{number}", None, None)

    at_once(lambda: writer("one"), lambda: writer("two"))

    assert len(State("boot", tmp_path).changes()) == 40


def test_folder_that_another_removes_with_its_last_change_is_made_again(tmp_path):
    def writer(role):
        for _ in range(20):
            state = State(role, tmp_path)
            state.note("file", f"/{role}", None, None)
            [change] = state.changes()
            state.forget(change)

    at_once(lambda: writer("one"), lambda: writer("two"))

    assert not (tmp_path / "var/lib/labkit").exists()


def test_place_where_no_folder_can_be_is_an_error(tmp_path):
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/labkit").symlink_to("nowhere")

    with pytest.raises(OSError, match="labkit/state: expected a folder"):
        State("boot", tmp_path).note("file", "/x", None, None)
