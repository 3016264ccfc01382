"""The fixture of unit and integration tests that hides who called sudo.

Lab tests run with what was built, and that lies with whoever called sudo.
"""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def called_without_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who called sudo decides about fixes and owners: the tests of that set it themselves."""
    for name in ("SUDO_USER", "SUDO_UID", "SUDO_GID", "SUDO_COMMAND", "SUDO_HOME"):
        monkeypatch.delenv(name, raising=False)
