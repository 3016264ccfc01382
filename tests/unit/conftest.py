"""Fixtures of the unit tests."""

pytest_plugins = ["pytester"]
