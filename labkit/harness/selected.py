"""The measuring tests of a run, as plain data: a worker of pytest-xdist hands them to its controller in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.harness.collecting import Subject, measures, subject_of

if TYPE_CHECKING:
    from labkit.lab.topology import Topology
    from labkit.record.model import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedTest:
    """A test that measures."""

    id: str
    function: str
    """Without its parameters: such tests take equally long."""
    topology: str = ""
    """Empty, like the rest: there is nothing to measure, and it will be skipped."""
    backend: str = ""
    key: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is going to be measured, and what was left out."""

    tests: Sequence[SelectedTest] = ()
    topologies: Mapping[str, Topology] = field(default_factory=dict)
    elsewhere: Sequence[str] = ()
    """Why tests were deselected."""


def selection_of(items: Sequence[pytest.Item], elsewhere: Sequence[str]) -> Selection:
    """The measuring tests among those that were collected."""
    tests, topologies = [], {}
    for item in items:
        if not measures(item):
            continue
        function, subject = getattr(item, "originalname", item.name), subject_of(item)
        if not isinstance(subject, Subject):
            tests.append(SelectedTest(id=item.nodeid, function=function))
            continue
        topologies[subject.topology.name] = subject.topology
        tests.append(
            SelectedTest(
                id=item.nodeid,
                function=function,
                topology=subject.topology.name,
                backend=subject.backend,
                key=subject.key,
            )
        )
    return Selection(tests=tests, topologies=topologies, elsewhere=elsewhere)


def write(selection: Selection, path: Path) -> None:
    """For the controller."""
    from labkit.record.codec import encode

    document = {
        "tests": [
            {field.name: encode(getattr(test, field.name)) for field in fields(test)}
            for test in selection.tests
        ],
        "topologies": [
            {
                "text": one.text,
                "source": str(one.source),
                "chosen": {"name": one.name, "tester": one.tester, "tester_option": one.tester_option},
            }
            for one in selection.topologies.values()
        ],
        "elsewhere": list(selection.elsewhere),
    }
    path.write_text(json.dumps(document))


def read(path: Path) -> Selection:
    """What a worker wrote."""
    from labkit.lab.topology_file import parse
    from labkit.record.codec import decode
    from labkit.record.model import DatapathKey, HostKey

    def key(value: Mapping[str, object] | None) -> Key | None:
        if value is None:
            return None
        return decode(DatapathKey, value) if "backend" in value else decode(HostKey, value)

    document = json.loads(path.read_text())
    topologies = [
        replace(parse(one["text"], Path(one["source"]), alone=True), **one["chosen"])
        for one in document["topologies"]
    ]
    return Selection(
        tests=[SelectedTest(**{**test, "key": key(test["key"])}) for test in document["tests"]],
        topologies={one.name: one for one in topologies},
        elsewhere=document["elsewhere"],
    )
