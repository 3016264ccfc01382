"""Reruns and repetitions by other plugins: each of them measures again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from labkit.record.model import Key
    from labkit.session.recorder import Recorder


@dataclass(slots=True)
class _Runs:
    """The runs of a test so far."""

    last: tuple[str, int] = ("", 0)
    """Node id and attempt."""
    measured: set[Key] = field(default_factory=set)


_RUNS = pytest.StashKey[dict[tuple[object, ...], _Runs]]()


def forget_for_rerun(recorder: Recorder, item: pytest.Item) -> set[Key]:
    """Have a rerun of this test measure again. Returns the set in which to note what it measures.

    Otherwise it would judge the remembered figures again. An attempt of `repeats` keeps what was valid: the recorder
    has forgotten the rest already.
    """
    runs = item.config.stash.setdefault(_RUNS, {}).setdefault(_identity(item), _Runs())
    this = (item.nodeid, recorder.attempts.number(item.nodeid))
    if this[0] != runs.last[0] or this[1] == runs.last[1]:
        recorder.forget(runs.measured)
    runs.last = this
    return runs.measured


def _identity(item: pytest.Item) -> tuple[object, ...]:
    """What identifies a test, the same for all its repetitions.

    Plugins that repeat tests either run one again or make copies, which differ in a parameter with a name in __
    (pytest-repeat, pytest-flakefinder).
    """
    callspec = getattr(item, "callspec", None)
    indices: dict[str, int] = callspec.indices if callspec is not None else {}
    parent = item.parent.nodeid if item.parent is not None else ""
    own = sorted((name, index) for name, index in indices.items() if not name.startswith("__"))
    return (parent, getattr(item, "originalname", item.name), *own)
