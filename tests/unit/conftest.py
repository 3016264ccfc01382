"""Fixtures of the unit tests."""

from tests.no_sudo import called_without_sudo  # noqa: F401
