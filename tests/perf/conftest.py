"""Plain `pytest` in a checkout runs the unit tests; the suite is run by marker (`pytest -m dpdk`) or by path."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the suite out where neither a marker nor a path asked for it."""
    asked = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.markexpr
    return None if asked else True
