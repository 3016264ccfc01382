"""Lab tests need root, and say so. The collection's modules are imported as Ansible does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Two of these suites on one machine wait for each other.
os.environ.setdefault("LABKIT_WAIT", "10min")

sys.path.insert(0, str(Path(__file__).parents[2] / "ansible" / "collections"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if "/lab/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="needs root: sudo -E pytest tests/lab"))


@pytest.fixture(autouse=True)
def _called_without_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who called sudo decides about fixes and owners: the tests of that set it themselves."""
    for name in ("SUDO_USER", "SUDO_UID", "SUDO_GID", "SUDO_COMMAND", "SUDO_HOME"):
        monkeypatch.delenv(name, raising=False)
