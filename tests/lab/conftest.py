"""Lab tests need root, and say so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ssh_host import TwoHosts

# Two of these suites on one machine wait for each other.
os.environ.setdefault("LABKIT_WAIT", "10min")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "beside: may run beside others: judges no figure, and changes nothing of the machine itself",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if "/lab/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="needs root: sudo -E pytest tests/lab"))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[TwoHosts]:
    """Two hosts with a cable between them, one of them reached by SSH."""
    hosts = TwoHosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.end()
