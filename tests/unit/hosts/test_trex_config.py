"""The configuration of a TRex server: ports, cores and memory, and every mistake in them by its variable."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.labkit.host.plugins.module_utils import archives, trex_config, trex_unit
from ansible_collections.labkit.host.plugins.module_utils.trex_config import Cores, CoresMissing, Port

NODES = {0: frozenset(range(8)), 1: frozenset(range(8, 16))}
ONLINE = range(16)
NIC = [Port("0000:3b:00.0", True, 1), Port("0000:3b:00.1", True, 1)]
VETH = [Port("t0", False), Port("t1", False)]


def cores(ports, *, given="", threads=1, isolated="", online=ONLINE, nodes=NODES):
    return trex_config.choose_cores(
        ports, given=given, threads=threads, isolated=isolated, online=online, nodes=nodes
    )


def configuration(ports, chosen, *, threads=1):
    [found] = yaml.safe_load(trex_config.text(ports, chosen, threads=threads, memory_mib=2048))
    return found


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([{}], "trex_ports[0]: expected pci or interface, found neither"),
        (
            [{"pci": "03:00.0", "interface": "eth1"}],
            "trex_ports[0]: expected pci or interface, found pci and",
        ),
        ([{"pci": "eth1"}], "trex_ports[0].pci: eth1 is no PCI address: expected one such as 0000:03:00.0"),
        ([{"interface": "a", "dest_mac": "02:00"}], "trex_ports[0].dest_mac: '02:00': expected an address"),
        ([{"interface": "a"}, {"pci": "03:00.0"}], "trex_ports has both pci and interface"),
        ([{"interface": "a"}] * 3, "trex_ports has 3 ports: TRex wants pairs, so expected an even number"),
    ],
)
def test_mistake_in_the_list_of_ports_is_reported(ports, expected):
    [found] = trex_config.entries_wrong(ports)

    assert found.startswith(expected)


@pytest.mark.parametrize("ports", [[], [{"interface": "a"}], [{"pci": "3b:0.0"}, {"pci": "3b:0.1"}]])
def test_no_port_one_port_and_pairs_are_right(ports):
    assert list(trex_config.entries_wrong(ports)) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (
            {"trex_version": "v3.08"},
            "trex_sha256 is empty, and trex_version is v3.08: expected 64 hexadecimal",
        ),
        ({"trex_version": "v3.08", "trex_sha256": "A" * 64}, "trex_sha256 is AAAA"),
        (
            {"trex_version": "../v3", "trex_sha256": "0" * 64},
            "trex_version '../v3': expected letters, digits",
        ),
        (
            {"trex_version": "v3.08", "trex_sha256": "0" * 64, "trex_archive": "v3.08.tar.gz"},
            "trex_archive: v3.08.tar.gz: expected an absolute path",
        ),
        ({"trex_ports": [{"interface": "a"}]}, "trex_ports is set, and trex_version is empty"),
        ({"trex_sha256": "0" * 64}, "trex_sha256 is set, and trex_version is empty"),
    ],
)
def test_mistake_in_what_names_the_archive_is_reported(wanted, expected):
    [found] = archives.wrong(archives.TREX, wanted)

    assert found.startswith(expected)


def test_nothing_is_wrong_where_no_version_is_asked_for():
    assert list(archives.wrong(archives.TREX, {})) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Cores(main=8, receiver=9, pairs=((15,),))),
        ({"threads": 3}, Cores(main=8, receiver=9, pairs=((13, 14, 15),))),
        ({"isolated": "2-5,12-14"}, Cores(main=12, receiver=13, pairs=((14,),))),
        ({"isolated": "2-5"}, Cores(main=8, receiver=9, pairs=((15,),))),
        ({"given": "1,2,9"}, Cores(main=1, receiver=2, pairs=((9,),))),
        ({"given": "3,4"}, Cores(low_end=3)),
        ({"nodes": {}}, Cores(main=1, receiver=2, pairs=((15,),))),
        ({"nodes": {}, "online": range(2)}, Cores(low_end=1)),
        ({"nodes": {}, "online": range(3)}, Cores(low_end=1)),
        ({"nodes": {}, "online": range(1)}, Cores(low_end=0)),
    ],
)
def test_cores_are_those_given_or_near_the_nic(options, expected):
    assert cores(NIC, **options) == expected


@pytest.mark.parametrize(
    ("core", "options", "expected"),
    [
        (12, {}, Cores(receiver=8, main=9, pairs=((12,),))),
        (12, {"taken": [8]}, Cores(receiver=9, main=10, pairs=((12,),))),
        (14, {"isolated": "12-14"}, Cores(receiver=12, main=13, pairs=((14,),))),
        (14, {"isolated": "13-14"}, Cores(receiver=13, main=8, pairs=((14,),))),
        (1, {"nodes": {}, "online": range(3)}, Cores(receiver=2, main=0, pairs=((1,),))),
        (1, {"nodes": {}, "online": range(3), "taken": [0]}, Cores(low_end=1)),
        (1, {"nodes": {}, "online": range(2)}, Cores(low_end=1)),
    ],
)
def test_server_of_a_lab_sends_on_its_core_and_has_others_for_the_rest(core, options, expected):
    given = {"taken": [], "isolated": "", "online": ONLINE, "nodes": NODES, **options}

    assert trex_config.cores_around(NIC, core=core, **given) == expected


def test_server_of_a_lab_may_run_beside_the_one_of_the_role():
    text = trex_config.text(VETH, Cores(low_end=1), threads=1, memory_mib=2048, of_lab=True)

    [found] = yaml.safe_load(text)
    assert (found["zmq_rpc_port"], found["zmq_pub_port"], found["prefix"]) == (4511, 4510, "labkit-trex")
    assert "labkit down" in text


def test_unit_of_a_lab_has_the_same_rights_as_that_of_the_role_and_is_not_started_again():
    role, lab = trex_unit.template("/srv/trex"), trex_unit.of_lab("/srv/trex", own_network=True)

    rights = role[role.index("# Rings") : role.index("[Install]")]
    assert rights.rstrip() in lab
    assert "Restart=on-failure" in role
    assert "Restart=" not in lab
    assert "%i" not in lab
    assert trex_unit.folder_of(role) == trex_unit.folder_of(lab) == "/srv/trex"
    assert trex_unit.folder_of("WorkingDirectory=/srv") is None
    filtered = trex_unit.of_lab("/srv/trex", own_network=False)
    assert filtered.index("PrivateNetwork=yes") < filtered.index("PrivateNetwork=no\nIPAddressDeny=any")


def test_each_pair_sends_from_its_own_node():
    ports = [Port("a", True, 0), Port("b", True, 0), Port("c", True, 1), Port("d", True, 1)]

    assert cores(ports) == Cores(main=1, receiver=2, pairs=((7,), (15,)))


@pytest.mark.parametrize(
    ("ports", "options", "expected"),
    [
        (NIC, {"given": "1-3", "threads": 2}, "trex_cores: found 1-3, expected 4"),
        (NIC * 4, {"isolated": "9-12"}, "the cores of the ports: found 9-12, expected 6"),
        (NIC, {"given": "14-16"}, "trex_cores: 16 of 14-16 is not online: this host has 0-15"),
        (NIC, {"given": "1-x"}, "cores '1-x': '1-x' is no core or range"),
        (NIC, {"threads": 0}, "trex_threads: found 0, expected 1 or more"),
        (VETH, {"threads": 2}, "trex_threads: found 2, expected 1 or more, and 1 for interfaces"),
    ],
)
def test_cores_that_do_not_do_are_reported(ports, options, expected):
    with pytest.raises(ValueError, match=f"^{expected}") as raised:
        cores(ports, **options)
    assert isinstance(raised.value, CoresMissing) is ("found" in expected and "threads" not in expected) or (
        "online" in expected
    )


def test_interfaces_have_rings_that_lose_nothing_and_all_threads_on_one_core():
    assert configuration(VETH, Cores(low_end=1)) == {
        "version": 2,
        "interfaces": [
            f"--vdev=net_af_packet{number},iface=t{number},framesz=2048,framecnt=8192,blocksz=4194304"
            for number in (0, 1)
        ],
        "port_limit": 2,
        "prefix": "trex",
        "low_end": True,
        "low_end_core": 1,
    }


def test_one_port_has_a_dummy_beside_it_and_jumbo_frames_another_ring():
    found = configuration([Port("t0", False, mtu_bytes=9000, dest_mac="02:00:00:00:00:0A")], Cores(low_end=0))

    assert found["interfaces"][1] == "dummy"
    assert "framesz=16384,framecnt=1024" in found["interfaces"][0]
    assert found["port_limit"] == 2
    assert found["port_info"] == [{"dest_mac": "02:00:00:00:00:0a"}, {}]


def test_nics_have_threads_and_memory():
    found = configuration(NIC, Cores(main=8, receiver=9, pairs=((14, 15),)), threads=2)

    assert found["interfaces"] == ["0000:3b:00.0", "0000:3b:00.1"]
    assert found["c"] == 2
    assert found["platform"] == {
        "master_thread_id": 8,
        "latency_thread_id": 9,
        "dual_if": [{"socket": 1, "threads": [14, 15]}],
    }
    assert found["limit_memory"] == "2048"
    assert "limit_memory" not in configuration(VETH, Cores(main=1, receiver=2, pairs=((3,),)))


def test_nics_alone_take_hugepages():
    assert trex_config.memory_needed_mib(NIC, Cores(pairs=((1,),)), 2048) == 2048
    assert trex_config.memory_needed_mib(NIC, Cores(low_end=1), 2048) == 200
    assert trex_config.memory_needed_mib(VETH, Cores(low_end=1), 2048) == 0


def test_interface_of_the_kernel_takes_a_filter_in_the_place_of_a_namespace():
    beside = [Port("0000:3b:00.0", True, 1, bifurcated=True)]

    assert trex_config.own_network(NIC)
    assert not trex_config.own_network(VETH)
    assert not trex_config.own_network(beside)
    own = trex_unit.drop_in(own_network=True, started_of="1")
    filtered = trex_unit.drop_in(own_network=False, started_of="1")
    assert "PrivateNetwork=yes" in trex_unit.template("/opt/trex")
    assert "PrivateNetwork" not in own
    assert "PrivateNetwork=no\nIPAddressDeny=any\nIPAddressAllow=localhost\n" in filtered
