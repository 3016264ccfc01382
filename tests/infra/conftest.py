"""Which hosts are checked, and their desired state: --host, --inventory or --desired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest

from labkit.doctor.host import HOST_CHECKS
from labkit.doctor.host.connect import opened
from labkit.doctor.host.desired import Desired, Source, hosts
from labkit.doctor.host.doctor import NOTHING_APPLIES, source
from labkit.doctor.host.reader import HostReader
from labkit.errors import ConfigInvalid, LabkitError

LookAt = Callable[[Source], tuple[HostReader, Desired]]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("infra", "infra: host checks (changes nothing)")
    group.addoption(
        "--host", action="append", metavar="H", help="this host (repeatable); default: all of the inventory"
    )
    group.addoption(
        "--inventory",
        action="append",
        metavar="FILE",
        help="Ansible inventory (repeatable; default: this machine's)",
    )
    group.addoption("--desired", metavar="FILE", help="a YAML file of the roles' variables instead")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "check" not in metafunc.fixturenames:
        return
    option = metafunc.config.option
    try:
        names = option.host or (hosts(*option.inventory) if option.inventory else ["localhost"])
        sources = [source(name, inventory=option.inventory, desired=option.desired) for name in names]
    except LabkitError as error:
        raise pytest.UsageError(str(error)) from error
    cases = [(where, check) for where in sources for check in HOST_CHECKS]
    metafunc.parametrize(
        ("where", "check"), cases, ids=[f"{check.id}[{where.host}]" for where, check in cases]
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where no host check applies, as `labkit doctor --host` does: nothing was checked."""
    if session.exitstatus == pytest.ExitCode.OK and not session.config.option.collectonly:
        reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
        if not reporter.stats.get("passed"):
            reporter.write_line(
                "no check applies: nothing is configured for a host by its variables", red=True
            )
            session.exitstatus = NOTHING_APPLIES


@pytest.fixture(scope="session")
def look_at() -> Iterator[LookAt]:
    """Opens each host once; one that can't be opened is not tried again for each host check."""
    with ExitStack() as stack:

        @cache
        def tried(where: Source) -> tuple[HostReader, Desired] | LabkitError:
            try:
                return stack.enter_context(opened(where))
            except LabkitError as error:
                return error

        def look(where: Source) -> tuple[HostReader, Desired]:
            found = tried(where)
            if isinstance(found, ConfigInvalid):
                pytest.exit(str(found), returncode=pytest.ExitCode.USAGE_ERROR)
            if isinstance(found, LabkitError):
                pytest.fail(str(found), pytrace=False)
            return found

        yield look
