"""The kernel's flavour is known by what ran, never by the suffix of its name."""

from __future__ import annotations

import pytest

from labkit.record.provenance import Kernel
from labkit.results.flavour import describe, flavour, preemption


def kernel(version: str, **more) -> Kernel:
    facts = {
        "release": "6.8.0-45-generic",
        "version": version,
        "machine": "x86_64",
        "cmdline": "root=/dev/vda1 quiet",
        "preempt": None,
        "preempt_source": None,
        "realtime": False,
        "hz": 1000,
        "distribution": None,
    }
    return Kernel(**(facts | more))  # type: ignore[arg-type]


DYNAMIC = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.0-1"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (kernel("#1 SMP PREEMPT_RT Debian 6.1.0-1", realtime=True, preempt="PREEMPT_RT"), "rt"),
        (kernel(DYNAMIC, preempt="full"), "lowlatency"),
        (kernel(DYNAMIC, preempt="voluntary"), "generic"),
        (kernel(DYNAMIC, preempt="lazy"), "generic"),
        (kernel(DYNAMIC, preempt="none"), "generic"),
        # The scheduler's file cannot be read: the command line says, where it does.
        (kernel(DYNAMIC, preempt="PREEMPT_DYNAMIC", cmdline="quiet preempt=full"), "lowlatency"),
        (kernel(DYNAMIC, preempt="PREEMPT_DYNAMIC", cmdline="preempt=full preempt=none"), "generic"),
        (kernel(DYNAMIC, preempt="PREEMPT_DYNAMIC"), "not known"),
        # What is in effect counts, not what was asked for.
        (kernel(DYNAMIC, preempt="none", cmdline="preempt=full"), "generic"),
        (kernel("#1 SMP PREEMPT Ubuntu", preempt="PREEMPT"), "lowlatency"),
        (kernel("#1 SMP Debian"), "generic"),
        # A name proves nothing.
        (kernel(DYNAMIC, preempt="voluntary", release="6.8.0-45-lowlatency"), "generic"),
    ],
)
def test_the_flavour_is_what_is_in_effect(found: Kernel, expected: str) -> None:
    assert flavour(found) == expected
    assert expected in describe(found)
    assert found.release in describe(found)


def test_a_kernel_without_preemption_is_not_said_to_be_voluntary() -> None:
    found = kernel("#1 SMP Debian")  # CONFIG_PREEMPT_NONE looks the same
    assert preemption(found) is None
    assert "voluntary" not in describe(found)
