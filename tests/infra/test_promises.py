"""Is a host what its roles promise? One test a host and promise; what is not kept says which tag closes it.

pytest tests/infra --inventory INVENTORY [--host H] [-k hugepages]
"""

from __future__ import annotations

import pytest

from labkit.doctor.host import Broken, NotApplicable, Promise
from labkit.doctor.host.desired import Source
from labkit.errors import LabkitError


def test_promise(where: Source, promise: Promise, look_at):
    reader, desired = look_at(where)
    outcome = told_of_error = None
    try:
        outcome = promise.look(reader, desired)
    except LabkitError as error:
        told_of_error = str(error)

    if told_of_error is not None:
        pytest.fail(told_of_error, pytrace=False)
    if isinstance(outcome, NotApplicable):
        pytest.skip(outcome.reason)
    if isinstance(outcome, Broken):
        pytest.fail(
            f"{where.host}: {promise.text}: not so\n"
            f"expected  {outcome.expected}\nfound     {outcome.found}\nfix       {desired.close(promise.role)}",
            pytrace=False,
        )
