"""Parts of a test that are reported by themselves while it runs: pytest's subtests.

pytest reports the end of a part by the same hook as the end of the test. A part can neither be withheld nor repeated,
so one that is invalid is shown as skipped, and makes its test invalid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from labkit.harness.verdicts import INVALID

_RUNNING = pytest.StashKey[bool]()
_FAILED = pytest.StashKey[int]()


@contextmanager
def running(item: pytest.Item) -> Iterator[None]:
    """While the test's function runs: what is reported inside is a part of it."""
    item.stash[_RUNNING], item.stash[_FAILED] = True, 0
    try:
        yield
    finally:
        item.stash[_RUNNING] = False


def is_part(item: pytest.Item) -> bool:
    """Whether the report that pytest makes is that of a part."""
    return item.stash.get(_RUNNING, False)


def report(item: pytest.Item, made: pytest.TestReport, error: BaseException | None) -> None:
    """Have an invalid part not fail its test, and count those that failed."""
    if isinstance(error, INVALID):
        made.outcome = "skipped"
        made.longrepr = (str(item.path), item.location[1] or 0, f"Invalid: {error}")
        del made.labkit_invalid
    elif made.failed:
        item.stash[_FAILED] += 1


def failed(item: pytest.Item) -> int:
    """How many parts of the test failed."""
    return item.stash.get(_FAILED, 0)


def fail_for_parts(item: pytest.Item, made: pytest.TestReport) -> None:
    """Fail a test that passed, if parts of it failed. pytest does it too, too late for those who read the report."""
    count = failed(item)
    if made.when == "call" and made.passed and count and not is_part(item):
        made.outcome = "failed"
        made.longrepr = f"contains {count} failed subtest{'s' if count > 1 else ''}"
