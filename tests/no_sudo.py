"""The fixture of unit, integration and lab tests that hides who called sudo."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def called_without_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who called sudo decides about fixes and owners: the tests of that set it themselves."""
    for name in ("SUDO_USER", "SUDO_UID", "SUDO_GID", "SUDO_COMMAND", "SUDO_HOME"):
        monkeypatch.delenv(name, raising=False)
