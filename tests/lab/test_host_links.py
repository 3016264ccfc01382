"""What protects the way to a host, on real interfaces in a namespace that the test makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside

COLLECTIONS = Path(__file__).parents[2] / "ansible" / "collections"

TELL = """
import json, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.labkit.host.plugins.module_utils import links
print(json.dumps({one.name: one.protected for one in links.interfaces(over_ssh=False, management=sys.argv[2:])}))
"""


def protected(*commands: str, management: Sequence[str] = ()) -> dict[str, list[str]]:
    """Interfaces and reasons in a new network namespace after these ip commands."""
    script = "; ".join(["set -e", *(f"ip {command}" for command in commands), 'exec "$@"'])
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "sh",
            "-c",
            script,
            "sh",
            sys.executable,
            "-c",
            TELL,
            str(COLLECTIONS),
            *management,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def names(found: dict[str, list[str]]) -> list[str]:
    return sorted(name for name, reasons in found.items() if reasons)


def test_nothing_is_protected_where_nothing_leads_anywhere():
    assert names(protected("link add name va0 type veth peer name vb0")) == []


def test_bridge_over_the_way_out_protects_its_member():
    found = protected(
        "link add name va0 type veth peer name vb0",
        "link add name vc0 type veth peer name vd0",
        "link add name br0 type bridge",
        "link set va0 master br0",
        "link set br0 up",
        "address add 198.18.0.1/24 dev br0",
        "route add default via 198.18.0.2",
    )

    assert {"va0", "br0"} <= set(names(found))
    assert found["vc0"] == found["vd0"] == []
    assert found["va0"] == ["it is a member of br0, which is protected: the default route goes over it"]


def test_both_paths_of_a_multipath_default_route_over_ipv6_are_protected():
    found = protected(
        *(f"link add name {one} type veth peer name {one}p" for one in ("va0", "vb0", "vc0")),
        *(f"link set {one} up" for one in ("va0", "va0p", "vb0", "vb0p")),
        "address add 2001:2:0:1::1/64 dev va0 nodad",
        "address add 2001:2:0:2::1/64 dev vb0 nodad",
        "-6 route add default nexthop via 2001:2:0:1::2 nexthop via 2001:2:0:2::2",
    )

    assert {"va0", "vb0"} <= set(names(found))
    assert found["vc0"] == []


def test_default_route_of_another_table_protects():
    found = protected(
        "link add name va0 type veth peer name vb0",
        "link set va0 up",
        "address add 198.18.0.1/24 dev va0",
        "route add default via 198.18.0.2 table 7",
    )

    assert "va0" in names(found)


def test_parent_of_the_macvlan_that_a_nexthop_group_leaves_over_is_protected():
    found = protected(
        *(f"link add name {one} type veth peer name {one}p" for one in ("va0", "vb0", "vc0")),
        "link add link va0 name mv0 type macvlan",
        *(f"link set {one} up" for one in ("va0", "va0p", "vb0", "vb0p", "mv0")),
        "address add 198.18.0.1/24 dev mv0",
        "address add 198.18.1.1/24 dev vb0",
        "nexthop add id 1 via 198.18.0.2 dev mv0",
        "nexthop add id 2 via 198.18.1.2 dev vb0",
        "nexthop add id 9 group 1/2",
        "route add default nhid 9",
    )

    assert {"mv0", "va0", "vb0"} <= set(names(found))
    assert found["va0"] == ["it is the parent of mv0, which is protected: the default route goes over it"]
    assert found["vc0"] == []


def test_ipv6_only_host_is_known_by_its_own_default_route():
    found = protected(
        *(f"link add name {one} type veth peer name {one}p" for one in ("va0", "vb0")),
        *(f"link set {one} up" for one in ("va0", "va0p")),
        "address add 2001:2:0:1::1/64 dev va0 nodad",
        "-6 route add default via 2001:2:0:1::2 table 100",
        "-6 rule add table 100",
    )

    assert "va0" in names(found)
    assert found["vb0"] == []


def test_every_spelling_in_the_inventory_protects():
    link = "link add name va0 type veth peer name vb0"

    for given in ("va0", "a-longer-name-than-fifteen", "the way in"):
        found = protected(
            link,
            "link property add dev va0 altname a-longer-name-than-fifteen",
            "link set va0 alias 'the way in'",
            management=[given],
        )
        assert found["va0"] == ["named in labkit_host_management_interfaces"]


def test_management_interface_that_is_not_there_stops_everything():
    with pytest.raises(AssertionError, match="names nothing0, and no interface here has that name"):
        protected(management=["nothing0"])
