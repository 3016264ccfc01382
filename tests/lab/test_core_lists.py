"""Lists of cores: the kernel of this machine is asked by way of a cpuset, and both parsers must say the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import kernel_words

from labkit.machine.cores import parse_list

pytestmark = pytest.mark.beside

LISTS = json.loads((Path(__file__).parents[1] / "unit/data/core_lists.json").read_text())
TEXTS = [text for text, *_ in (*LISTS["read"], *LISTS["refused"])]
CPUSETS = Path("/sys/fs/cgroup/cpuset")
POSSIBLE = Path("/sys/devices/system/cpu/possible").read_text()


@pytest.fixture(scope="module")
def cpuset() -> Iterator[Path]:
    """A list in a cpuset of our own, in which nothing runs."""
    folder = CPUSETS / f"labkit-test-{os.getpid()}"
    if not (CPUSETS / "cpuset.cpus").exists():
        folder = Path(f"/sys/fs/cgroup/labkit-test-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if not (folder / "cpuset.cpus").exists():
            pytest.skip("the controller cpuset is not on for the root's children (cgroup.subtree_control)")
        yield folder / "cpuset.cpus"
    finally:
        folder.rmdir()


def asked(cpuset: Path, text: str) -> set[int] | None:
    try:
        cpuset.write_text(text + "\n")
    except OSError:
        return None
    return parse_list(cpuset.read_text())


def said(read, text: str, last: int) -> set[int] | None:
    try:
        return set(read(text, last))
    except ValueError:
        return None


@pytest.mark.parametrize("text", TEXTS)
def test_list_is_read_as_this_kernel_reads_it(cpuset, text):
    last = kernel_words.last_of(POSSIBLE)
    if text.isascii() and text.strip():
        found = asked(cpuset, text)

        assert said(kernel_words.cores, text, last) == found
        assert said(parse_list, text, last) == found
