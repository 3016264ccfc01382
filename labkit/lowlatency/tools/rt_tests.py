"""What the programs of the package rt-tests have in common: results as JSON, and how long they may run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from labkit.errors import ToolFailed
from labkit.lowlatency.tools import running
from labkit.lowlatency.tools.figures import whole

PACKAGE = "rt-tests"


def version() -> str | None:
    """The package's, as cyclictest reports it; hwlatdetect reports none. None: cyclictest is not installed."""
    return running.said(["cyclictest", "--help"], r"^cyclictest V (\S+)")


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A file in memory that a program writes its results to: it leaves nothing behind, however the program ends."""

    descriptor: int

    @property
    def path(self) -> str:
        """As the program opens it."""
        return f"/dev/fd/{self.descriptor}"

    def read(self) -> str:
        """What it has written."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self.descriptor), encoding="utf-8", errors="replace") as file:
            return file.read()


@contextmanager
def json_file(name: str) -> Iterator[JsonFile]:
    """The file for one run of the program `name`."""
    descriptor = os.memfd_create(f"labkit-{name}")
    try:
        yield JsonFile(descriptor)
    finally:
        os.close(descriptor)


def threads(text: str, tool: str) -> tuple[str, list[Mapping[str, Any]]]:
    """Version and threads of a results file (file_version 1). Raises ToolFailed for anything else."""
    try:
        document = json.loads(text)
        if document["file_version"] != 1:
            raise ToolFailed(f"{tool}: expected file_version 1 of its JSON, got {document['file_version']!r}")
        # Its own key ends in a colon (rt-tests 2.4); later versions may drop it.
        version = document.get("rt_test_version:") or document["rt_test_version"]
        found = [document["thread"][str(i)] for i in range(whole(document["num_threads"]))]
        if not found:
            raise ValueError("no thread in it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolFailed(f"{tool}: no results in its JSON ({error!r}): {text[:200]!r}") from error
    return str(version), found


def bins(thread: Mapping[str, Any], tool: str) -> dict[int, int]:
    """A thread's histogram: whole microseconds to how often. Raises ToolFailed if there is none."""
    try:
        return {whole(us): whole(count) for us, count in thread["histogram"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolFailed(f"{tool}: no histogram in its JSON ({error!r})") from error
