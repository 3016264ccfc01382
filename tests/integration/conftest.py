"""Fixtures of the integration tests: those that start programs, and need neither root nor a lab."""

import os

import pytest

from tests.no_sudo import called_without_sudo  # noqa: F401
from tests.tracers import on_path, tracing  # noqa: F401

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some measure the host: two processes of pytest-xdist would refuse each other."""
    if "LABKIT_WAIT" not in os.environ:
        monkeypatch.setenv("LABKIT_WAIT", "10min")
