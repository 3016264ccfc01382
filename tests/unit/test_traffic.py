"""The key `traffic` of a lab file: what is read, what is said of what is wrong, and which frames come of it."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sample_run import sample_run
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap, wrpcapng

from labkit import format as fmt
from labkit.backends import registry
from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.lab import topology_file
from labkit.lab.links import nic
from labkit.lab.topology import Topology
from labkit.lab.traffic import UDP as PLAIN
from labkit.session.capabilities import unfit
from labkit.session.datapaths import Datapath, default_datapath, find_mode
from labkit.session.judge import Judge
from labkit.testers import capture, preview
from labkit.testers.frames import FrameSpec, default_size, frame_spec, words_of
from labkit.testers.trex.streams import streams

FRAME = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:08")
TO = {"src": "198.18.0.9", "dst": "198.18.0.8"}


def lab_of(traffic: str, name: str = "veth", folder: Path = Path()) -> Topology:
    return topology_file.parse(topology_file.load(name).text + traffic, folder / "lab.yml")


def command_of(traffic: str, spec: FrameSpec, name: str = "veth") -> dict[str, Any]:
    return preview.command_for(lab_of(traffic, name), spec, own_mac=True)


def test_a_lab_without_the_key_sends_labkits_own_frames() -> None:
    lab = lab_of("")
    assert lab.traffic == PLAIN
    assert (words_of(lab.traffic, "64", 4), default_size(lab.traffic), default_size(lab.traffic, 6)) == (
        "",
        "64",
        "84",
    )


def test_all_of_it_is_read_and_named() -> None:
    traffic = lab_of(
        "traffic:\n  protocol: tcp\n  vlans: [100, 200]\n  fields:\n    source_ip: {count: 3}\n"
        "    destination_port: {first: 1000, count: 4, order: shuffled, seed: 5}\n"
    ).traffic
    assert traffic.flows == 12
    assert words_of(traffic, "84", 4) == (
        "TCP, QinQ 100/200, 12 flows: 3 source IP addresses, 4 destination ports from 1000 on shuffled by seed 5"
    )
    assert fmt.traffic(words_of(traffic, "84", 4))[0] == "TCP, QinQ 100/200, 12 flows"
    assert default_size(traffic) == "84"
    mix = lab_of("traffic: {mix: {name: office, weights: {64: 7, 1518: 1}}}").traffic
    assert words_of(mix, "64", 4) == "", "a mix is no matter of other sizes"
    assert words_of(mix, "imix", 4) == "mix office: imix is 7 of 64 B, 1 of 1518 B"
    assert words_of(mix, "imix", 6) == "mix office: imix is 7 of 84 B, 1 of 1518 B"


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        ("{protocol: sctp}", "expected one of udp, tcp, icmp"),
        ("{vlans: 0}", "1 to 4094"),
        ("{vlans: [1, 2, 3]}", "expected one VLAN id, or two"),
        ("{vlans: []}", "expected one VLAN id, or two"),
        ("{colour: red}", "unknown key 'colour'"),
        ("{fields: {}}", "expected one of the fields source_ip"),
        ("{fields: {ttl: {count: 2}}}", "unknown key 'ttl'"),
        ("{fields: {source_ip: {first: 198.18.0.9}}}", "missing key 'count'"),
        ("{fields: {source_ip: {count: 1}}}", "2 to 32768"),
        ("{fields: {source_port: {count: 9000, order: shuffled}}}", "2 to 8192"),
        ("{fields: {source_port: {count: 9, order: up}}}", "expected one of sequential, shuffled"),
        ("{fields: {source_port: {count: 9, seed: 1}}}", "only a shuffled order has a seed"),
        ("{fields: {source_port: {count: 9, first: 65530}}}", "port numbers end at 65535"),
        ("{fields: {source_ip: {count: 9, first: here}}}", "expected an IP address such as"),
        ("{fields: {source_ip: {count: 9, first: 10.0.0.1}}}", "set aside for benchmarks"),
        ("{fields: {source_ip: {count: 9, first: 198.19.255.250}}}", "set aside for benchmarks"),
        ("{fields: {source_ip: {count: 2, first: '2001:2::ffff:ffff'}}}", "go past its last 32 bits"),
        ("{protocol: icmp, fields: {source_port: {count: 2}}}", "ICMP has no ports"),
        (
            "{fields: {source_ip: {count: 251}, source_port: {count: 257}}}",
            "64507 flows, expected at most 32768",
        ),
        ("{mix: {name: x}}", "missing key 'weights'"),
        ("{mix: {name: x, weights: {}}}", "expected 1 to 16 frame sizes"),
        ("{mix: {name: x, weights: {63: 1}}}", "64 to 9220"),
        ("{mix: {name: x, weights: {64: 0}}}", "1 to 1000"),
        ('{pcap: "a\\0b"}', "there is no such file"),
        ("{pcap: /dev/zero}", "there is no such file"),
        ("{pcap: nosuch.pcap}", "nosuch.pcap: there is no such file"),
        ("tcp", "expected a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(traffic: str, said: str) -> None:
    lines = topology_file.load("veth").text.count("\n")
    with pytest.raises(ConfigInvalid) as caught:
        lab_of(f"traffic: {traffic}\n")
    assert f"lab.yml:{lines + 1}: " in caught.value.message
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_simulated_lab_has_no_captured_frames() -> None:
    with pytest.raises(ConfigInvalid, match="is no capture"):
        default_datapath("kernel", [topology_file.load("sim")]).check_frames(frame_spec("pcap"))


def test_a_simulated_lab_has_no_traffic() -> None:
    with pytest.raises(ConfigInvalid, match="a simulated lab sends no frames"):
        lab_of("\ntraffic: {protocol: tcp}\n", "sim")


def test_a_nic_that_takes_tags_off_for_good_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    features = {"rx-vlan-hw-parse": (True, True), "tx-vlan-hw-insert": (False, False)}
    monkeypatch.setattr(nic, "features_of", lambda _: features)
    assert nic._tags_untouched("eth1", must=True) == {"rx-vlan-hw-parse": "off"}
    features["rx-vlan-hw-parse"] = (True, False)
    with pytest.raises(EnvironmentBroken, match="eth1 takes VLAN tags out of frames"):
        nic._tags_untouched("eth1", must=True)
    assert nic._tags_untouched("eth1", must=False) == {}


@pytest.mark.parametrize(
    ("traffic", "spec", "said"),
    [
        ("{protocol: tcp}", FrameSpec(), "at least 76 bytes with FCS for TCP over IPv4"),
        (
            "{protocol: tcp, vlans: 1}",
            FrameSpec(size=84, ip_version=6),
            "at least 100 bytes with FCS for TCP, VLAN 1",
        ),
        ("{fields: {source_ip: {count: 2}}}", FrameSpec(flows=2), "has fields of its own that differ"),
        ("{fields: {source_ip: {count: 2, first: '2001:2::5'}}}", FrameSpec(), "has a source_ip of IPv6"),
        ("{protocol: tcp}", FrameSpec(size="pcap"), "the lab's traffic is no capture"),
    ],
)
def test_frames_that_a_lab_does_not_send_are_named(traffic: str, spec: FrameSpec, said: str) -> None:
    datapath = default_datapath("xdp", [lab_of(f"traffic: {traffic}\n")])
    with pytest.raises(ConfigInvalid) as caught:
        datapath.check_frames(spec)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("backend", "mode", "name", "traffic", "reason"),
    [
        ("kernel", "", "veth", "{vlans: 5}", "have no VLANs"),
        ("kernel", "", "veth", "{protocol: tcp}", "its sockets answer UDP, not TCP"),
        ("kernel", "", "veth", "{fields: {destination_port: {count: 2}}}", "destination_port differs"),
        ("kernel", "", "veth-forward", "{fields: {source_ip: {count: 2}}}", "source_ip differs"),
        ("kernel", "", "veth", "{fields: {source_port: {count: 2, order: shuffled}}}", None),
        ("kernel", "", "veth-forward", "{protocol: icmp}", None),
        ("dpdk", "net_af_packet", "veth", "{vlans: 5}", None),
        ("dpdk", "net_af_packet", "veth", "{vlans: [5, 6]}", "an outer tag of 802.1ad"),
        ("kernel", "", "bare-metal", "{protocol: tcp}", "the tester's own kernel would answer TCP"),
        ("xdp", "", "veth", "{protocol: tcp, vlans: [5, 6]}", None),
    ],
)
def test_a_datapath_that_does_not_move_such_frames_says_why(
    backend: str, mode: str, name: str, traffic: str, reason: str | None
) -> None:
    lab, found = lab_of(f"traffic: {traffic}\n", name), registry.load(backend)
    datapath = Datapath(topology=lab, backend=found, mode=find_mode(found, lab, mode))
    said = datapath.unfit(frame_spec(128))
    assert said is None if reason is None else reason in str(said)


@pytest.mark.parametrize(
    ("name", "traffic", "measured", "reason"),
    [
        ("memif", "{protocol: tcp}", False, "the kernel is on no link of this lab"),
        ("memif", "{protocol: tcp}", True, ""),  # on another lab of the run, with the same frames
        ("veth", "{protocol: tcp}", False, "its sockets answer UDP, not TCP"),
        ("veth-forward", "{protocol: tcp}", False, ""),
    ],
)
def test_a_ratio_is_left_out_only_where_no_kernel_moves_such_frames(
    name: str, traffic: str, measured: bool, reason: str
) -> None:
    datapath = default_datapath("dpdk", [lab_of(f"traffic: {traffic}\n", name)])
    key = datapath.key(frame="76")
    kernel = replace(
        sample_run().measurements[0],
        kind="mrr",
        key=replace(key, backend="kernel", mode="", topology="other"),
    )
    recorder: Any = SimpleNamespace(
        topologies={key.topology: datapath.topology}, everything=lambda: (kernel,) if measured else ()
    )
    kinds: Any = None
    said = Judge(recorder, kinds, lacking=lambda _: ())._no_kernel(key)
    assert said.find(reason) >= 0
    assert bool(said) == bool(reason)


def test_a_shuffled_field_has_each_value_once_and_always_in_the_same_order() -> None:
    traffic = "traffic: {fields: {destination_ip: {count: 100, order: shuffled, seed: 3}}}"
    (field,) = command_of(traffic, frame_spec(64))["fields"]
    assert (field["offset"], field["bytes"]) == (30, 4)
    assert Counter(field["values"]) == Counter(range(0xC6120002, 0xC6120002 + 100))
    assert field["values"] != sorted(field["values"])
    assert command_of(traffic, frame_spec(64))["fields"] == [field]


def test_both_testers_are_given_the_same_fields() -> None:
    traffic = "traffic: {protocol: tcp, vlans: 9, fields: {source_ip: {count: 4}, source_port: {count: 2}}}"
    command = command_of(traffic, frame_spec(128))
    (stream,) = streams(command, load_pps=1000)
    assert list(stream.fields) == command["fields"]
    assert (stream.ip_offset, stream.l4_offset, stream.tcp) == (18, 38, True)


def test_icmp_flows_differ_in_the_identifier() -> None:
    sent = list(preview.as_sent(command_of("traffic: {protocol: icmp}", frame_spec(64, flows=3)), 4))
    assert [Ether(one)[ICMP].id - 10000 for one in sent] == [0, 1, 2, 0]


def captured(folder: Path, *frames: Packet) -> Path:
    wrpcap(str(folder / "in.pcap"), [Ether(bytes(one)) for one in frames])
    return folder / "in.pcap"


def test_the_frames_of_a_capture_keep_all_but_addresses_of_ethernet_and_the_signature(tmp_path: Path) -> None:
    tcp = (
        FRAME
        / Dot1Q(vlan=3)
        / IP(**TO, ttl=9)
        / TCP(sport=5, options=[("Timestamp", (1, 2))])
        / Raw(b"x" * 40)
    )
    udp = FRAME / IP(**TO) / UDP(sport=9, dport=8, chksum=0) / Raw(b"y" * 18)
    captured(tmp_path, tcp, udp)
    lab = lab_of("traffic: {pcap: in.pcap}\n", folder=tmp_path)
    assert words_of(lab.traffic, "pcap", 4).startswith("frames of in.pcap (sha256 ")
    assert fmt.traffic("frames of a: b.pcap") == ("frames of a: b.pcap", "")
    assert default_size(lab.traffic) == "pcap"
    spec = frame_spec("pcap")
    default_datapath("xdp", [lab]).check_frames(spec)
    sent = [Ether(one) for one in preview.as_sent(preview.command_for(lab, spec, own_mac=True), 3)]
    assert [one.dst for one in sent] == [lab.links[0].dut.mac] * 3
    assert [bytes(one[IP])[:20] for one in sent] == [
        bytes(x[IP])[:20] for x in map(Ether, map(bytes, (tcp, udp, tcp)))
    ]
    assert bytes(sent[0][TCP].payload)[:2] == struct.pack("!H", preview.TAG)
    assert bytes(sent[0][TCP].payload)[18:] == b"x" * 22
    assert sent[1][UDP].chksum == 0
    for wrong in (frame_spec(64), frame_spec("pcap", flows=2), frame_spec("pcap", ip_version=6)):
        with pytest.raises(ConfigInvalid, match=r"frames of .*in\.pcap"):
            default_datapath("xdp", [lab]).check_frames(wrong)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([FRAME / IP(**TO) / UDP() / Raw(bytes(18)), FRAME / ARP()], "frame 2: expected IPv4"),
        ([FRAME / IP(**TO) / TCP(flags="A")], "frame 1: no room for a signature of 18 bytes"),
        ([FRAME / IP(**TO) / ICMP(type=3) / Raw(bytes(40))], "frame 1: expected IPv4"),
        ([FRAME / IP(**TO, flags="MF") / UDP() / Raw(bytes(40))], "frame 1: expected IPv4"),
        ([FRAME / IP(**TO, len=200) / UDP() / Raw(bytes(40))], "its IP header says 214: it was cut short"),
        (
            [FRAME / IP(**TO) / TCP(dataofs=4) / Raw(bytes(40))],
            "its TCP header says that it is 16 bytes long",
        ),
        ([FRAME / IPv6() / UDP() / Raw(bytes(17))], "frame 1: no room"),
        ([FRAME / IP(**TO) / UDP() / Raw(bytes(18))] * 257, "more than 256 frames"),
        ([FRAME / IP(**TO) / UDP() / Raw(bytes(5000))] * 90, "expected at most 400000"),
        ([], "has no frame"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_capture_that_cannot_be_sent_is_named_by_frame(
    tmp_path: Path, frames: list[Packet], said: str
) -> None:
    capture.read.cache_clear()
    with pytest.raises(ConfigInvalid, match=said):
        capture.read(captured(tmp_path, *frames))


@pytest.mark.parametrize("less", [1, 9, 60, 70])
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_capture_that_was_cut_short_is_refused(tmp_path: Path, kind: str, less: int) -> None:
    frames = [Ether(bytes(FRAME / IP(**TO) / UDP() / Raw(bytes(18))))] * 5
    (wrpcap if kind == "pcap" else wrpcapng)(str(tmp_path / "in"), frames)
    whole = (tmp_path / "in").read_bytes()
    assert len(capture.read(tmp_path / "in")) == 5
    (tmp_path / "cut").write_bytes(whole[:-less])
    with pytest.raises(ConfigInvalid, match="cut: "):
        capture.read(tmp_path / "cut")


def test_a_capture_that_was_replaced_is_not_sent_under_the_name_of_the_first(tmp_path: Path) -> None:
    captured(tmp_path, FRAME / IP(**TO) / UDP() / Raw(bytes(18)))
    datapath = default_datapath("xdp", [lab_of("traffic: {pcap: in.pcap}\n", folder=tmp_path)])
    captured(tmp_path, FRAME / IP(**TO) / UDP() / Raw(bytes(19)))
    with pytest.raises(ConfigInvalid, match="has changed since the lab's file was read"):
        datapath.check_frames(frame_spec("pcap"))


def test_checksums_that_a_nic_was_to_add_are_put_right(tmp_path: Path) -> None:
    right = [
        FRAME / IP(**TO) / TCP(sport=5) / Raw(b"x" * 41),
        FRAME / Dot1Q(vlan=3) / IPv6() / UDP() / Raw(b"y" * 19),
        FRAME / IPv6() / TCP() / Raw(bytes(18)),
        FRAME / IP(**TO) / ICMP() / Raw(b"z" * 33),
    ]
    wrong = [Ether(bytes(one)) for one in right]
    wrong[0][IP].chksum, wrong[0][TCP].chksum, wrong[1][UDP].chksum = 0, 0x1234, 0
    wrong[2][TCP].chksum, wrong[3][ICMP].chksum = 0, 7
    capture.read.cache_clear()
    found = capture.read(captured(tmp_path, *wrong))
    assert [one.data for one in found] == [bytes(one) for one in right]


def test_a_file_that_is_no_capture_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.pcap").write_text("not a capture, but a text that is long enough to be read as a header")
    with pytest.raises(ConfigInvalid, match=r"in\.pcap: cannot be read: "):
        capture.read(tmp_path / "in.pcap")


def test_trex_refuses_more_frames_than_it_counts_before_a_lab_is_up(tmp_path: Path) -> None:
    captured(tmp_path, *[FRAME / IP(**TO) / UDP() / Raw(bytes(18))] * 129)
    datapath = default_datapath("xdp", [lab_of("traffic: {pcap: in.pcap}\n", folder=tmp_path)])
    said = unfit(datapath, frame_spec("pcap"), engine="trex", tester_option="--tester")
    assert str(said).startswith("129 frames: TRex counts up to 128 streams")
    assert unfit(datapath, frame_spec("pcap"), engine=None, tester_option="--tester") is None
