"""Fixtures of the integration tests: those that start programs, and need neither root nor a lab."""

from tests.no_sudo import called_without_sudo  # noqa: F401
from tests.tracers import on_path, tracing  # noqa: F401

pytest_plugins = ["pytester"]
