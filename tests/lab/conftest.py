"""Lab tests need root, and say so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import real_trex
from tests.lab.ssh_host import TwoHosts

# Two of these suites on one machine wait for each other.
os.environ.setdefault("LABKIT_WAIT", "10min")


KERNEL_WARNS = re.compile(r"WARNING: |BUG: |Bad page|Call Trace|general protection|rcu: .*stall")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "beside: may run beside others: judges no figure, and changes nothing of the machine itself",
    )
    config.addinivalue_line("markers", "long: left out by the lane lab, for its time; tox -e long runs it")
    config.addinivalue_line("markers", "trex: needs a TRex server: --labkit-trex-dir, or LABKIT_TREX_DIR")


LONGEST = (
    *("test_site_broken_off", "test_site_container", "test_side_by_side", "test_command", "test_trex"),
    *("test_two_hosts", "test_two_hosts_up", "test_trex_role", "test_two_hosts_lost", "test_trex_host"),
    *("test_host_nic_roles", "test_openonload_role", "test_bad_hosts", "test_two_hosts_left"),
)
"""Files that take minutes, of few tests: workers that begin with them end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    if os.geteuid() != 0:
        for item in items:
            if "/lab/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="needs root: sudo -E pytest tests/lab"))


@pytest.fixture(scope="module", autouse=True)
def _silent_kernel() -> Iterator[None]:
    """Fails where the kernel has warned meanwhile: what loads programs into it must not hurt it."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # not shown to this container
        yield
        return
    try:
        os.lseek(log, 0, os.SEEK_END)
        yield
        said = []
        with suppress(BlockingIOError):
            while True:
                with suppress(BrokenPipeError):  # older ones were overwritten
                    said.append(os.read(log, 8192).decode(errors="replace").partition(";")[2])
    finally:
        os.close(log)
    assert not [line for line in said if KERNEL_WARNS.search(line)], "".join(said)[-4000:]


@pytest.fixture(scope="session")
def trex_directory(request: pytest.FixtureRequest) -> Path:
    """Where a real TRex server is."""
    return real_trex.given(request)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[TwoHosts]:
    """Two hosts with a cable between them, one of them reached by SSH."""
    hosts = TwoHosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.end()
