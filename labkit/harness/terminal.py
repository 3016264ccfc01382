"""What labkit writes between pytest's own lines: progress, the outcome `invalid`, and the closing summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from labkit import output

if TYPE_CHECKING:
    from labkit.progress import Progress
    from labkit.session.recorder import Recorder

StatusWord = tuple[str, str, tuple[str, dict[str, bool]]]
INVALID: StatusWord = ("invalid", "I", ("INVALID", {"yellow": True}))
"""Counted apart from failed, skipped and passed."""


def progress(config: pytest.Config, *, where: Callable[[], str]) -> Progress:
    """Progress lines on the stream that pytest reports to; `where` says how far the run is."""
    from labkit.progress import StreamProgress

    capture = config.pluginmanager.getplugin("capturemanager")
    reporter = config.pluginmanager.getplugin("terminalreporter")
    # Not to stderr, which tox shows in red.
    return StreamProgress(
        reporter._tw._file if reporter is not None else sys.__stdout__ or sys.stdout,
        around=capture.global_and_fixture_disabled if capture is not None else nullcontext,
        fresh_line=(lambda: _fresh_line(reporter)) if reporter is not None else None,
        where=where,
    )


def worker_progress(lines: TextIO, *, where: Callable[[], str]) -> Progress:
    """Progress of a worker of pytest-xdist, whose lines its controller shows."""
    from labkit.progress import StreamProgress

    return StreamProgress(lines, where=where)


def line_writer(config: pytest.Config) -> Callable[[str], None]:
    """Writes lines of others on the stream that pytest reports to."""

    def write(line: str) -> None:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        stream = reporter._tw._file if reporter is not None else sys.__stdout__ or sys.stdout
        if reporter is not None:
            _fresh_line(reporter)
        stream.write(f"{line}\n")
        stream.flush()

    return write


def _fresh_line(reporter: Any) -> None:  # noqa: ANN401 - pytest's
    """End a line that pytest has begun (dots, or the name of a test)."""
    reporter.ensure_newline()
    if reporter._tw.width_of_current_line:
        reporter._tw.line()


def summarize(
    reporter: Any,  # noqa: ANN401 - pytest's
    recorder: Recorder | None,
    *,
    elsewhere: Sequence[str],
    problems: Sequence[str],
) -> None:
    """Write what was invalid and why, the run's table, what was deselected, and other reasons for a failed run."""
    invalid = reporter.stats.get("invalid", []) if recorder is not None else []
    if invalid:
        reporter.section("invalid: neither pass nor fail", yellow=True)
        for report in invalid:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reporter.write_line(f"{report.nodeid}: {reason}")
    writer = reporter._tw
    text = ""
    if recorder is not None:
        text = recorder.summary(
            width=writer.fullwidth if output.is_terminal(writer._file) else None,
            encoding=getattr(writer._file, "encoding", None),
        )
    if text or elsewhere or problems:
        reporter.section("labkit")
        reporter.write(text)
    for line in elsewhere:
        reporter.write_line(f"deselected: {line}")
    for line in problems:
        reporter.write_line(f"labkit: {line}", red=True)


def last_line(config: pytest.Config, text: str, **markup: bool) -> None:
    """Write a line after all of pytest's: to stderr, if pytest has no terminal (-p no:terminal)."""
    if config.pluginmanager.has_plugin("terminalreporter"):
        config.get_terminal_writer().line(text, **markup)
    else:
        print(text, file=sys.stderr)


def report_problems(config: pytest.Config, problems: Sequence[str]) -> None:
    """Write the reasons for a failed run to stderr if pytest has no summary (-p no:terminal)."""
    if not config.pluginmanager.has_plugin("terminalreporter"):
        for problem in problems:
            print(f"labkit: {problem}", file=sys.stderr)
