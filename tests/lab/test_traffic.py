"""Frames of all kinds, on the wire as `labkit frames` writes them, through every datapath that moves them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from labkit.lab.live import lab_up
from labkit.machine.namespaces import inside
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session, Settings
from labkit.testers import preview
from labkit.testers.capture import described
from labkit.testers.frames import FrameSpec, frame_spec
from labkit.testers.probe import generating
from tests.lab.capture import OUTGOING, captured
from tests.lab.traffics import ECHO, ECHO_FROM_MANY, ONE_TAG, OWN_MIX, TAGGED, checked, lab_of

pytestmark = pytest.mark.beside
WAIT_S = 600
TIME = slice(10, 18)
"""Of the signature: known when a frame is sent."""


def timeless(frame: bytes) -> bytes:
    """Without the time in the signature, and the checksum that has it in."""
    found = described(frame, "sent")
    kept = bytearray(frame)
    kept[found.payload_offset + TIME.start : found.payload_offset + TIME.stop] = bytes(8)
    if found.checksum_offset != -1:
        kept[found.checksum_offset : found.checksum_offset + 2] = bytes(2)
    return bytes(kept)


@pytest.mark.parametrize(
    ("traffic", "spec"),
    [
        (TAGGED, FrameSpec(size=128)),
        (TAGGED, FrameSpec(size=128, ip_version=6)),
        (ONE_TAG, FrameSpec(size=68)),
        (ONE_TAG, FrameSpec(size=600, ip_version=6)),
        (ECHO, FrameSpec(size=64, flows=7)),
        (ECHO_FROM_MANY, FrameSpec(size=84, ip_version=6)),
        (OWN_MIX, FrameSpec(size="imix", flows=3)),
    ],
)
@pytest.mark.parametrize("engine", ["af_packet", "xdp"])
def test_the_wire_has_what_labkit_frames_writes_with_right_checksums(
    traffic: str, spec: FrameSpec, engine: str
) -> None:
    topology = lab_of(traffic)
    written = list(preview.as_sent(preview.command_for(topology, spec, own_mac=True), 60))
    with lab_up(topology) as lab, generating(lab, engine) as tester:
        tester.set_frames(spec, own_mac=True)
        sent = captured(lab, lambda: tester.measure_burst(60))

    assert [timeless(frame) for frame in sent] == [timeless(frame) for frame in written]
    assert [checked(frame) for frame in sent + written] == sent + written


OVER_TCP = "traffic: {protocol: tcp, fields: {destination_port: {count: 9}}}"


@pytest.mark.parametrize(
    ("name", "traffic", "spec", "engine"),
    [
        ("veth", TAGGED, FrameSpec(size=128), None),
        ("veth", TAGGED, FrameSpec(size=128), "xdp"),
        ("veth", ECHO_FROM_MANY, FrameSpec(size=84, ip_version=6), None),
        ("veth-forward", OVER_TCP, FrameSpec(size=76), None),
        ("veth-forward", OVER_TCP, FrameSpec(size=76), "xdp"),
        ("veth-forward", ONE_TAG, FrameSpec(size=104, ip_version=6), None),
        ("memif", TAGGED, FrameSpec(size=128), None),
    ],
)
def test_every_datapath_that_is_said_to_move_such_frames_does(
    name: str, traffic: str, spec: FrameSpec, engine: str | None
) -> None:
    moved = set()
    with Session(Settings(store=False, wait_s=WAIT_S, tester_engine=engine), progress=Silent()) as session:
        for datapath in enumerate_datapaths([lab_of(traffic, name)]):
            if session.lacking(datapath) or datapath.unfit(spec):
                continue
            trial, proof, _ = session.one_trial(datapath, spec, load_pps=2_000, duration_s=0.1)
            assert 0 < 0.5 * trial.sent < trial.received, (datapath.backend.name, trial)
            assert (trial.corrupt, trial.foreign) == (0, 0), (datapath.backend.name, trial)
            assert proof.proven
            moved.add(datapath.backend.name)
    assert (
        moved
        == {
            "veth": {"af_packet", "xdp", "af_xdp", "dpdk"},
            "veth-forward": {"af_packet", "xdp", "af_xdp", "dpdk"}
            | ({"kernel"} if "tcp" in traffic else set()),
            "memif": {"dpdk"},
        }[name]
    )


@pytest.mark.parametrize("engine", ["af_packet", "xdp"])
def test_a_capture_is_sent_in_its_order(tmp_path: Path, engine: str) -> None:
    """With the lab's MAC addresses, and the signature in the payload; all else is as it was captured."""
    source = (
        preview.as_sent(preview.command_for(lab_of(TAGGED), FrameSpec(size=128), own_mac=True), 7),
        preview.as_sent(
            preview.command_for(lab_of(ECHO), FrameSpec(size=200, ip_version=6), own_mac=True), 2
        ),
    )
    frames = [frame for part in source for frame in part]
    wrpcap(str(tmp_path / "in.pcap"), [Ether(frame) for frame in frames])
    topology = lab_of("traffic: {pcap: in.pcap}", folder=tmp_path)
    spec = frame_spec("pcap")
    with lab_up(topology) as lab, generating(lab, engine) as tester:
        tester.set_frames(spec, own_mac=True)
        sent = captured(lab, lambda: tester.measure_burst(20))
        assert [len(frame) for frame in sent] == [len(frames[i % 9]) for i in range(20)]
        assert [checked(frame) for frame in sent] == sent
    (datapath,) = [one for one in enumerate_datapaths([topology]) if one.backend.name == "xdp"]
    with Session(Settings(store=False, wait_s=WAIT_S), progress=Silent()) as session:
        trial, _, _ = session.one_trial(datapath, spec, load_pps=2_000, duration_s=0.1)
    assert 0 < 0.5 * trial.sent < trial.received, trial
    assert trial.corrupt == 0, "frames with and without tags, each judged by what was sent"


def test_a_tag_of_another_type_is_corrupt_as_net_af_packet_makes_it() -> None:
    """DPDK 22.11; where a later one keeps the type, its mode has no reason to be left out any more."""
    (datapath,) = [one for one in enumerate_datapaths([lab_of(TAGGED)]) if one.mode.name == "net_af_packet"]
    assert datapath.unfit(frame_spec(128))
    with Session(Settings(store=False, wait_s=WAIT_S), progress=Silent()) as session:
        if lacking := session.lacking(datapath):
            pytest.skip("; ".join(lacking))
        trial, _, _ = session.one_trial(datapath, frame_spec(128), load_pps=2_000, duration_s=0.1)
    assert trial.received == 0
    assert trial.corrupt > 0


def test_a_frame_that_comes_back_without_its_tags_is_corrupt() -> None:
    """A socket of Python's is handed frames without their outer tag, and sends them back so."""
    over = threading.Event()
    with lab_up(lab_of(TAGGED)) as lab, generating(lab, "af_packet") as tester:
        port = lab.dut_ports[0]
        with inside(port.host.pid), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as dut:  # type: ignore[attr-defined]
            dut.bind((port.interface, 0))
            dut.settimeout(0.1)

            def send_back() -> None:
                while not over.is_set():
                    with suppress(TimeoutError):
                        frame, address = dut.recvfrom(65535)
                        if address[2] != OUTGOING:
                            dut.send(frame[6:12] + frame[:6] + frame[12:])

            reflector = threading.Thread(target=send_back)
            reflector.start()
            try:
                tester.set_frames(frame_spec(128), own_mac=False)
                trial = tester.measure(load_pps=500, duration_s=0.3)
            finally:
                over.set()
                reflector.join()
    assert trial.received == 0
    assert trial.corrupt > 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "icmp"])
def test_the_testers_kernel_answers_nothing_that_is_forwarded_to_it(
    protocol: str, version: Literal[4, 6]
) -> None:
    """It would cost both ends, and a ratio to the kernel would flatter: frames go to the tester's own address."""
    topology = lab_of(f"traffic: {{protocol: {protocol}}}", "veth-forward")
    with lab_up(topology) as lab, generating(lab, "af_packet") as tester:
        tester.set_frames(FrameSpec(size=128, ip_version=version), own_mac=True)
        trial = tester.measure(load_pps=2_000, duration_s=0.2)
        with inside(lab.tester_ports[0].host.pid):
            words = Path("/proc/thread-self/net/snmp").read_text().split()
            words6 = Path("/proc/thread-self/net/snmp6").read_text().split()
    assert trial.received > 0.5 * trial.sent > 0
    assert answers(words, "Icmp:", "OutEchoReps") == answers(words, "Tcp:", "OutRsts") == 0
    assert words6[words6.index("Icmp6OutEchoReplies") + 1] == "0"


def answers(words: list[str], table: str, counter: str) -> int:
    """A counter of /proc/net/snmp: a line of names, and one of values."""
    names = words.index(table)
    values = words.index(table, names + 1)
    return int(words[values + words[names:values].index(counter)])
