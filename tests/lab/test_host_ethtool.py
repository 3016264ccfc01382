"""Interface settings on real veth and tap devices, in a network namespace with notes of its own."""

from __future__ import annotations

import pytest
from host_namespace import Host

pytestmark = pytest.mark.beside

MAKE = """
ip link add va0 numtxqueues 4 numrxqueues 4 type veth peer name vb0 numtxqueues 4 numrxqueues 4
ip link property add dev va0 altname longer-name-of-va0
ip tuntap add tap0 mode tap
ip link set va0 up; ip link set vb0 up  # there is no polling thread where nothing is up
"""

FILES = "cd /sys/class/net/va0; cat mtu napi_defer_hard_irqs gro_flush_timeout threaded"


class Tuned(Host):
    """With what the tests ask for most."""

    def ethtool(self, *more: str, name: str = "va0", **arguments: object) -> dict[str, object]:
        return self.module("ethtool", *more, role="nic_tuning", over_ssh=False, name=name, **arguments)

    def shown(self, option: str, name: str = "va0") -> str:
        return self.run(f"ethtool {option} {name}")


@pytest.fixture
def host(tmp_path):
    host = Tuned(tmp_path)
    host.run(MAKE)
    yield host
    host.end()


def test_features_channels_and_mtu_are_set_once_and_reverted_exactly(host):
    before = [host.shown(option) for option in ("-k", "-l")]
    wanted = {
        "features": {"tx": False, "gro": True},
        "channels": {"queues": 2},
        "mtu": 3000,
        "napi": {"napi_defer_hard_irqs": 2, "gro_flush_timeout": 20000, "threaded": True},
    }

    predicted = host.ethtool("--check", **wanted)
    untouched = [host.shown(option) for option in ("-k", "-l")]
    first = host.ethtool(**wanted)
    second = host.ethtool(**wanted)
    after = host.shown("-k"), host.shown("-l"), host.run(FILES).split()
    back = host.module("revert", role="nic_tuning")

    assert untouched == before
    assert [one["changed"] for one in (predicted, first, second, back)] == [True, True, False, True]
    assert (predicted["before"], predicted["after"]) == (first["before"], first["after"])
    assert first["after"] == {
        "mtu": {"mtu": "3000"},
        "channels": {"rx": "2", "tx": "2"},
        "features": {
            "tx-checksum-ip-generic": "off", "tx-checksum-sctp": "off", "generic-receive-offload": "on",
        },
        "napi": {"napi_defer_hard_irqs": "2", "gro_flush_timeout": "20000", "threaded": "on"},
    }  # fmt: skip
    assert "tx-checksumming: off" in after[0]
    assert "generic-receive-offload: on" in after[0]
    assert after[1].count("2\n") == 2
    assert after[2] == ["3000", "2", "20000", "1"]
    assert [host.shown(option) for option in ("-k", "-l")] == before
    assert host.run(FILES).split() == ["1500", "0", "0", "0"]
    assert host.notes("nic_tuning") == []


def test_moderation_of_a_tap_is_set_and_reverted(host):
    before = host.shown("-c", "tap0")

    said = host.ethtool(name="tap0", coalescing={"rx-frames": 32}, persist=True)

    assert said["changed"], said
    assert "rx-frames: 32" in " ".join(host.shown("-c", "tap0").split())
    assert host.module("revert", role="nic_tuning")["changed"]
    assert host.shown("-c", "tap0") == before


def test_second_run_that_wants_more_notes_the_old_value_of_what_is_new(host):
    host.ethtool(channels={"rx": 2})
    host.run("ethtool -L va0 tx 3")
    host.ethtool(channels={"rx": 1, "tx": 1})

    assert [(note["old"]["values"], note["new"]) for note in host.notes("nic_tuning")] == [
        ({"rx": "4"}, {"rx": "1"}),
        ({"tx": "3"}, {"tx": "1"}),
    ]
    assert host.module("revert", role="nic_tuning")["changed"]
    assert [line.split()[-1] for line in host.shown("-l").splitlines()[-4:-2]] == ["4", "3"]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (
            {"features": {"lro": True}},
            "va0: features large-receive-offload is fixed by the driver at off, wanted on",
        ),
        ({"features": {"grow": True}}, "va0: its driver has no features grow; it has"),
        ({"channels": {"rx": 9}}, "va0: channels rx 9 is more than the driver's maximum, 4"),
        ({"channels": {"combined": 1}}, "va0: its driver has no channels combined; it has rx, tx"),
        ({"rings": {"rx": 64}}, "va0: its driver has no rings that could be set"),
        ({"pause": {"rx": False}}, "va0: its driver has no pause that could be set"),
        ({"rss": {"indirection": "equal 2"}}, "va0: its driver has no rss that could be set"),
        ({"mtu": 70000}, "mtu greater than device maximum"),
    ],
    ids=["fixed", "unknown", "too many", "no such", "rings", "pause", "rss", "mtu"],
)
def test_what_the_driver_cannot_do_is_refused_and_nothing_is_changed(host, wanted, why):
    before = host.shown("-k")

    said = host.ethtool(**{"features": {"gro": True}, **wanted} if "features" not in wanted else wanted)

    assert why in said["msg"]
    assert "changed" not in said or not said["changed"]
    assert host.shown("-k") == before
    assert host.notes("nic_tuning") == []


@pytest.mark.parametrize(("state", "expected"), [("up", False), ("down", True)])
def test_what_a_driver_may_have_only_while_it_is_up_is_said_of_one_that_is_down(host, state, expected):
    host.run(f"ip link set va0 {state}")

    said = host.ethtool(channels={"combined": 1})

    assert ("It is down" in said["msg"]) is expected


@pytest.mark.parametrize("spelling", ["va0", "longer-name-of-va0", "uplink"])
def test_way_to_the_host_is_left_alone_by_every_name(host, spelling):
    host.run(
        """ip link set va0 alias uplink; ip link add br0 type bridge; ip link set va0 master br0
        ip link add link br0 name mv0 type macvlan
        ip link set br0 up; ip link set mv0 up; ip link set va0 up; ip link set vb0 up
        ip address add 198.18.0.1/24 dev mv0; ip route add default via 198.18.0.2"""
    )

    said = host.ethtool(name=spelling, features={"gro": True})

    assert "is left alone, because the way to this host needs it" in said["msg"]
    assert "it is a member of br0, which is protected" in said["msg"]
    assert host.notes("nic_tuning") == []


def test_interface_that_became_the_way_to_the_host_keeps_its_settings(host):
    host.ethtool(features={"gro": True})
    host.run("ip link set va0 up; ip address add 198.18.0.1/24 dev va0; ip route add default via 198.18.0.2")

    said = host.module("revert", role="nic_tuning")

    assert "the default route goes over it" in said["msg"]
    assert "generic-receive-offload: on" in host.shown("-k")
    assert len(host.notes("nic_tuning")) == 1


def test_virtual_interface_that_is_gone_took_its_settings_with_it(host):
    host.ethtool(features={"gro": True})
    host.run("ip link delete va0")

    assert host.module("revert", role="nic_tuning")["changed"]
    assert host.notes("nic_tuning") == []


def test_feature_that_the_kernel_holds_back_is_an_error_and_the_old_values_are_there_again(host):
    host.ethtool(features={"tx": False})
    before = host.shown("-k")

    # TCP segmentation needs the checksums: the kernel notes the wish, and leaves it off.
    said = host.ethtool(features={"gro": True, "tx-tcp-mangleid-segmentation": True})

    assert "read back tx-tcp-mangleid-segmentation off; the old values are in effect" in said["msg"]
    assert host.shown("-k") == before
    assert len(host.notes("nic_tuning")) == 1
