"""Values of the kernel, set by one call in a network namespace: each for itself, and all of them reported."""

from __future__ import annotations

import pytest
from host_namespace import Host

pytestmark = pytest.mark.beside

NET = "/proc/sys/net/ipv4"
FORWARDING = {"path": f"{NET}/conf/lo/forwarding", "value": "1"}
REFUSED = {"path": f"{NET}/ip_default_ttl", "value": "9999"}  # at most 255
ECN = {"path": f"{NET}/tcp_ecn", "value": "0", "reads_as": "int"}


@pytest.fixture
def host(tmp_path):
    """A host with a network and notes of its own."""
    made = Host(tmp_path)
    # A new namespace has these from the machine's own, or from the kernel's release.
    for path, value in ((FORWARDING["path"], 0), (REFUSED["path"], 64), (ECN["path"], 2)):
        made.run(f"echo {value} >{path}")
    yield made
    made.end()


def values(host: Host) -> list[str]:
    return host.run(f"cat {' '.join(one['path'] for one in (FORWARDING, REFUSED, ECN))}").split()


def noted(host: Host) -> list[object]:
    return [(one["target"], one["new"]) for one in host.notes("mine")]


def test_value_that_the_kernel_refuses_is_reported_and_the_others_are_set_and_go_back(host):
    before = values(host)
    predicted = host.module("settings", "--check", role="mine", values=[FORWARDING, ECN])
    assert (predicted["set"], values(host), noted(host)) == (
        [f"{FORWARDING['path']}: 0 -> 1", f"{ECN['path']}: 2 -> 0"],
        before,
        [],
    )

    done = host.module("settings", role="mine", values=[FORWARDING, REFUSED, ECN])
    assert done["msg"] == f"{REFUSED['path']}: writing '9999' failed: Invalid argument; it stays '64'"
    assert values(host) == ["1", "64", "0"]
    assert noted(host) == [(FORWARDING["path"], "1"), (ECN["path"], "0")]

    assert host.module("settings", role="mine", values=[FORWARDING, ECN])["changed"] is False
    assert host.module("revert", role="mine")["changed"] is True
    assert (values(host), noted(host)) == (before, [])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{NET}/not_there", "this kernel does not have it"),
        ("/etc/hostname", "expected a file below /proc/sys or /sys"),
    ],
)
def test_file_that_cannot_be_set_is_reported_before_the_first_is(host, path, expected):
    before = values(host)
    done = host.module("settings", role="mine", values=[FORWARDING, {"path": path, "value": "1"}])

    assert path in done["msg"]
    assert expected in done["msg"]
    assert (values(host), noted(host)) == (before, [])


def test_file_that_this_kernel_need_not_have_is_left_out(host):
    missing = {"path": f"{NET}/not_there", "value": "1"}
    done = host.module("settings", role="mine", values=[missing, FORWARDING], missing="skip")

    assert done["set"] == [f"{FORWARDING['path']}: 0 -> 1"]
