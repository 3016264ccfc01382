"""Where the suite of `labkit run` lies."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import EnvironmentBroken


def path() -> Path:
    """The suite: tests/perf of the checkout that labkit runs from, or the copy inside the installed package."""
    package = Path(__file__).parents[1]
    for candidate in (package.parent / "tests" / "perf", package / "perf_suite"):
        if (candidate / "test_perf.py").is_file():
            return candidate
    raise EnvironmentBroken(
        "labkit's test suite is not installed", hint="reinstall labkit, or run it from a checkout"
    )
