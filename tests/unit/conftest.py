"""Fixtures of the unit tests, and their rule: no test here starts a process."""

import sys
from pathlib import Path

import pytest

from tests.no_sudo import called_without_sudo  # noqa: F401
from tests.tracers import on_path, tracing  # noqa: F401

STARTS_A_PROCESS = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "subprocess.Popen",
}

_started: list[str] | None = None  # what the test that runs now tried to start; None: no unit test runs


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if _started is not None and event in STARTS_A_PROCESS:
        _started.append(f"{event}{arguments[:2]}")
        raise pytest.fail.Exception(_message())


def _message() -> str:
    return f"a unit test starts no process; this one belongs in tests/integration. Tried: {_started}"


sys.addaudithook(
    _refuse
)  # sees every way of starting one, also those of libraries; it can't be removed again


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Watch a test with its fixtures. This hook, other than most, is called for the tests of other folders too."""
    global _started
    _started = [] if Path(__file__).parent in item.path.parents else None
    try:
        return (yield)
    finally:
        _started = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown():
    """Fail a test that caught the refusal, or met it in a thread."""
    result = yield
    if _started:
        pytest.fail(_message(), pytrace=False)
    return result
