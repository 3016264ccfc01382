"""Corrects how pytest reads its command line: its rootdir."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.harness import flags


def joined(arguments: Sequence[str], folder: Path) -> list[str]:
    """The same arguments, our options joined to values that exist as files: `--labkit-results=/data`.

    pytest looks for its rootdir before it knows a plugin's options: it takes a value that stands alone for the path
    of a test, and moves its rootdir (with the configuration, cache and node ids) there.
    """
    out: list[str] = []
    valued = flags.valued()
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*out, argument, *rest]
        value = next(rest, None) if argument in valued else None
        if value is None:
            out.append(argument)
        elif not value.startswith("-") and _exists(folder / value):
            out.append(f"{argument}={value}")
        else:
            out += [argument, value]
    return out


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that is closed, a name that is too long: not found by pytest either
        return False


def misread(config: pytest.Config) -> bool:
    """Whether pytest looked for its rootdir at a value of ours."""
    folder = config.invocation_params.dir
    given, added = list(config.invocation_params.args), _added()
    return joined(given, folder) != given or joined(added, folder) != added


def _added() -> list[str]:
    return shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))


def again(config: pytest.Config) -> int:
    """Run pytest again, with arguments that it can't misread. Returns its exit code."""
    folder = config.invocation_params.dir
    given = joined(config.invocation_params.args, folder)
    with _environment("PYTEST_ADDOPTS", shlex.join(joined(_added(), folder))):
        return int(pytest.main(given, plugins=list(config.invocation_params.plugins or ())))


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    if before is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
