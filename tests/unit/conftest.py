"""Fixtures of the unit tests."""

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _called_without_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who called sudo decides about fixes and owners: the tests of that set it themselves."""
    for name in ("SUDO_USER", "SUDO_UID", "SUDO_GID", "SUDO_COMMAND", "SUDO_HOME"):
        monkeypatch.delenv(name, raising=False)
