"""The host checks as tests: one a host and check. A failure names the command that fixes it.

pytest tests/infra --inventory INVENTORY [--host H] [-k hugepages]
"""

from __future__ import annotations

import pytest

from labkit.doctor.host import Failed, HostCheck, NotApplicable
from labkit.doctor.host.desired import Source
from labkit.errors import LabkitError


def test_host_check(where: Source, check: HostCheck, look_at):
    reader, desired = look_at(where)
    outcome = error_text = None
    try:
        outcome = check.run(reader, desired)
    except LabkitError as error:
        error_text = str(error)

    if error_text is not None:
        pytest.fail(error_text, pytrace=False)
    if isinstance(outcome, NotApplicable):
        pytest.skip(outcome.reason)
    if isinstance(outcome, Failed):
        pytest.fail(
            f"{where.host}: failed: {check.text}\n"
            f"expected  {outcome.expected}\nfound     {outcome.found}\nfix       {desired.fix(check.role)}",
            pytrace=False,
        )
