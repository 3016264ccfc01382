"""The suite of `labkit run`: where it is, and how pytest runs it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.harness import flags
from labkit.harness.spelling import LabkitRun


def path() -> Path:
    """The suite: tests/perf of the checkout that labkit runs from, or the copy inside the installed package."""
    package = Path(__file__).parents[1]
    for candidate in (package.parent / "tests" / "perf", package / "perf_suite"):
        if (candidate / "test_perf.py").is_file():
            return candidate
    raise EnvironmentBroken(
        "labkit's test suite is not installed", hint="reinstall labkit, or run it from a checkout"
    )


class _Interrupts(LabkitRun):
    """Distinguishes Ctrl-C from pytest's own reasons to stop (wrong tests, --maxfail), with the same exit code."""

    by_user = False

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.by_user = excinfo.errisinstance(KeyboardInterrupt) and not excinfo.errisinstance(
            pytest.Session.Interrupted
        )


_NEEDS_CACHE = (
    "--lf",
    "--last-failed",
    "--ff",
    "--failed-first",
    "--nf",
    "--new-first",
    "--sw",
    "--stepwise",
)


def run(arguments: argparse.Namespace) -> int:
    """Run it through pytest, as `labkit run` was asked to. Returns the exit code."""
    from labkit.record.space import RESERVED_BYTES, check_root
    from labkit.session.preflight import load_all

    for word in arguments.pytest_arguments:
        if word.partition("=")[0] in _NEEDS_CACHE:
            raise ConfigInvalid(
                f"{word}: labkit run keeps nothing of earlier runs except their results",
                hint=f"select what to measure with -m or -- -k, or run: pytest {path()} {word}",
            )
    load_all(arguments.topology or ())
    check_root(Path(arguments.results), room_bytes=RESERVED_BYTES)
    # By name, as entry points may be switched off (PYTEST_DISABLE_PLUGIN_AUTOLOAD).
    command = [str(path()), "-p", "labkit", "-p", "no:cacheprovider"]
    command += ["--labkit-junit", "-q", "--no-header", "--tb=short", "--strict-markers"]
    command += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # labkit is imported before pytest starts
    # The user's own pytest configuration is for the user's tests, not for this suite.
    command += ["-c", str(path() / "pytest.ini"), f"--rootdir={path()}"]
    if os.environ.pop("PYTEST_ADDOPTS", "").strip():
        print(
            "labkit: PYTEST_ADDOPTS is for your own tests and is ignored here; pass arguments to pytest after --",
            file=sys.stderr,
        )
    expressions = [f"({arguments.markers})"] if arguments.markers else []
    if not arguments.slow:
        expressions.append("not slow")
    if expressions:
        command += ["-m", " and ".join(expressions)]
    for flag in flags.of_run().values():
        command += flag.as_pytest(arguments)
    interrupts = _Interrupts(arguments.pytest_arguments)
    code = int(pytest.main([*command, *arguments.pytest_arguments], plugins=[interrupts]))
    if code == pytest.ExitCode.INTERRUPTED:
        return 130 if interrupts.by_user else ConfigInvalid.exit_code
    if code == pytest.ExitCode.USAGE_ERROR:
        return ConfigInvalid.exit_code
    return code
