"""TCP: how messages are written, what is asked of whom, what proves it, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import measurements, sample_run

from labkit.backends.kernel_tcp import KernelTables, by_the_kernel
from labkit.errors import ConfigInvalid, LabkitBug
from labkit.lab.topology_file import load, parse
from labkit.measure.latency import merge_trials
from labkit.measure.proof import Proof
from labkit.measure.tcp import TcpFigures, shares, summed, words
from labkit.measure.trial import TrialResult
from labkit.record.model import MESSAGES, DatapathKey
from labkit.record.run import Run
from labkit.results.answer import answer
from labkit.results.reference_claims import reference_claims
from labkit.results.trialview import as_text, tcp_words
from labkit.session.capabilities import lacking, no_bursts, no_round_trips, unfit
from labkit.session.datapaths import Datapath, default_datapath
from labkit.targets.evaluation import kernel_mode
from labkit.testers.answer import transport
from labkit.testers.frames import FrameSpec, frame_spec
from labkit.testers.messages import messages_command
from labkit.testers.offered_load import far_engine

ENDS = {
    4: {"src_ip": "198.18.0.1", "dst_ip": "198.18.0.2"},
    6: {"src_ip": "2001:2::1", "dst_ip": "2001:2::2"},
}
FIGURES = TcpFigures(
    connections=2,
    opened=3,
    segments_out=100,
    segments_in=90,
    retransmitted_segments=5,
    bytes_sent=6400,
    bytes_retransmitted=320,
    bytes_acked=6080,
    bytes_received=6000,
    reordering_seen=1,
    out_of_order_segments=2,
    busy_us=1000,
    receiver_limited_us=500,
    send_buffer_limited_us=0,
    smoothed_rtt_us=40,
    shortest_rtt_us=10,
    delivery_bytes_per_s=10**9,
    least_written_bytes=300,
    most_written_bytes=1200,
)


def path(mode: str, *, traffic: str = "") -> Datapath:
    text = load("veth").text + (f"\ntraffic: {traffic}\n" if traffic else "")
    return default_datapath("kernel", [parse(text, Path("veth.yml"))], mode=mode)


@pytest.mark.parametrize("ip_version", [4, 6])
@pytest.mark.parametrize("size", [64 + 20, 1000, 9000])
def test_a_message_has_the_size_that_was_asked_for_and_says_it(ip_version: int, size: int) -> None:
    spec = FrameSpec(size=size, flows=3, ip_version=4 if ip_version == 4 else 6)
    found = messages_command(spec, **ENDS[ip_version], src_port=10000, dst_port=7)
    (template,) = found["templates"]
    message = bytes.fromhex(template["data"])[template["signature_offset"] :]
    assert len(message) == size
    assert int.from_bytes(message[18:22], "big") == size
    assert not any(message[:18] + message[22:])
    assert found["flows"] == 3


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (FrameSpec(size="imix"), "the size of a message, and all have one"),
        (FrameSpec(size=9001), "expected 64 to 9000 bytes"),
        (FrameSpec(flows=4097), "expected 1 to 4096 connections"),
    ],
)
def test_what_is_no_message_is_refused_before_a_lab_is_up(spec: FrameSpec, why: str) -> None:
    with pytest.raises(ConfigInvalid, match=why):
        messages_command(spec, **ENDS[4], src_port=10000, dst_port=7)
    for mode in ("tcp", "tcp_stream"):
        assert why in str(unfit(path(mode), spec, engine=None, tester_option="--tester"))


def test_the_size_of_a_message_is_not_bound_by_the_mtu() -> None:
    path("tcp").check_frames(frame_spec(9000))
    with pytest.raises(ConfigInvalid, match="expected at most 1518"):
        path("").check_frames(frame_spec(9000))


@pytest.mark.parametrize(
    "traffic", ["{protocol: icmp}", "{vlans: [7]}", "{fields: {source_port: {count: 4}}}"]
)
def test_frames_that_a_lab_names_are_not_sent_over_connections(traffic: str) -> None:
    assert "the key traffic" in str(path("tcp", traffic=traffic).unfit(frame_spec(128)))
    assert path("tcp", traffic="{mix: {name: m, weights: {64: 1}}}").unfit(frame_spec(128)) is None


def test_a_row_of_messages_differs_from_one_of_frames_and_has_a_baseline_of_its_own_kind() -> None:
    keys = {mode: path(mode).key(frame="64") for mode in ("", "tcp", "tcp_stream")}
    assert [keys[mode].traffic for mode in keys] == ["", MESSAGES, MESSAGES]
    assert [kernel_mode(key) for key in keys.values()] == ["", "tcp", "tcp_stream"]
    own_program = replace(keys["tcp"], backend="command", mode="echo")
    assert kernel_mode(own_program) == "tcp"


def test_what_tcp_does_not_have_is_skipped_with_the_reason() -> None:
    assert no_round_trips(path("")) is None
    assert no_round_trips(path("tcp")) is None
    assert "nothing comes back" in str(no_round_trips(path("tcp_stream")))
    assert no_bursts(path(""), engine=None, tester_option="--tester") is None
    assert "TCP loses nothing" in str(no_bursts(path("tcp"), engine=None, tester_option="--tester"))


@pytest.mark.parametrize("engine", ["af_packet", "af_xdp", "trex"])
def test_a_tester_that_sends_frames_is_not_taken_for_connections(engine: str) -> None:
    (reason,) = lacking(path("tcp"), tester_engine=engine, tester_option="--tester")
    assert reason.endswith("(fix: leave --tester out, or choose probe)")


def test_the_far_end_of_the_maximum_offered_load_takes_connections_too() -> None:
    assert far_engine("socket", xdp_ok=True) == "socket"


SNMP = """Ip: Forwarding DefaultTTL
Ip: 2 64
Tcp: ActiveOpens InSegs OutSegs RetransSegs
Tcp: 3 {0} {1} 2
"""
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 020012C6:0007 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 500 1 0 100 0 0 10 0
   1: 020012C6:0007 010012C6:9C40 01 00000000:00000000 00:00000000 00000000     0        0 501 1 0 20 4 31 10 -1
"""


def tables(segments_in: int, segments_out: int) -> KernelTables:
    return KernelTables.parse(SNMP.format(segments_in, segments_out), TABLE, "  sl  local_address\n")


def test_the_kernels_tables_are_read() -> None:
    assert tables(7, 8) == KernelTables(
        segments_in=7, segments_out=8, retransmitted=2, established=frozenset({501})
    )


SOCKETS = {
    "socket": {"busy_poll_us": 0},
    "connections": 1,
    "established": 1,
    "descriptors": {"socket": 1},
    "inodes": [501],
}


@pytest.mark.parametrize(
    ("sockets", "after", "proven"),
    [
        (SOCKETS, (100, 100), True),
        ({**SOCKETS, "descriptors": {"onload": 1}, "inodes": []}, (100, 100), False),
        ({**SOCKETS, "inodes": [999]}, (100, 100), False),
        ({**SOCKETS, "established": 0}, (100, 100), False),
        ({**SOCKETS, "connections": 0, "established": 0, "descriptors": {}, "inodes": []}, (100, 100), False),
        (SOCKETS, (100, 10), False),
    ],
    ids=["kernel", "taken over", "not in the table", "not connected", "none", "no segments out"],
)
def test_only_sockets_of_the_kernel_with_traffic_prove_it(
    sockets: dict[str, object], after: tuple[int, int], proven: bool
) -> None:
    assert by_the_kernel(sockets, tables(10, 10), tables(*after))[0] is proven


def test_what_the_kernel_says_is_read_strictly() -> None:
    answer = {name: getattr(FIGURES, name) for name in FIGURES.__slots__}
    assert transport(answer) == FIGURES
    for name in ("shortest_rtt_us", "least_written_bytes", "most_written_bytes"):
        assert getattr(transport({**answer, name: None}), name) is None
    for wrong in ({**answer, "more": 1}, {**answer, "busy_us": None}):
        with pytest.raises(LabkitBug):
            transport(wrong)


def test_sums_are_of_a_trial_and_estimates_of_its_end() -> None:
    later = replace(FIGURES, segments_out=150, smoothed_rtt_us=30, retransmitted_segments=5, connections=1)
    since = later.since(FIGURES)
    assert (since.segments_out, since.retransmitted_segments, since.busy_us) == (50, 0, 0)
    assert (since.connections, since.smoothed_rtt_us) == (1, 30)
    both = summed([FIGURES, replace(later, shortest_rtt_us=None)])
    assert (both.segments_out, both.smoothed_rtt_us, both.shortest_rtt_us) == (250, 40, 10)
    assert (both.least_written_bytes, both.most_written_bytes) == (600, 2400)
    of_dut = replace(FIGURES, least_written_bytes=None, most_written_bytes=None)
    assert summed([of_dut, of_dut]).least_written_bytes is None
    assert of_dut.since(of_dut).most_written_bytes is None


def over_tcp(**changes: object) -> TrialResult:
    found = TrialResult(
        intended_load_pps=None,
        duration_s=1.0,
        intended=1000,
        sent=1000,
        received=1000,
        tcp={"tester": FIGURES},
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_merged_trials_have_the_sums_of_both() -> None:
    merged = merge_trials([over_tcp(), over_tcp()])
    assert merged.tcp["tester"].retransmitted_segments == 10
    assert merge_trials([over_tcp(tcp={}), over_tcp(tcp={})]).tcp == {}


def test_what_was_sent_again_is_said_of_each_end() -> None:
    both = {"tester": FIGURES, "dut": replace(FIGURES, retransmitted_segments=0)}
    assert words([both, both, {}]).endswith("behind the figures: tester 10 of 200, dut 0 of 200")
    assert words([{}, {}]) == ""
    uncounted = {"dut": replace(FIGURES, retransmitted_segments=0, segments_out=0)}
    assert words([uncounted]).endswith("behind the figures: dut not counted"), "as under Onload"
    said = dict(tcp_words(path("tcp").key(frame="64"), over_tcp(tcp=uncounted)))
    assert said["TCP dut"].startswith("it counts no segments")


def test_a_trial_says_its_goodput_and_what_was_sent_again() -> None:
    key = path("tcp_stream").key(frame="8000")
    said = dict(tcp_words(key, over_tcp()))
    assert said["goodput"].startswith("64 Mbit/s")
    assert said["TCP tester"].startswith("5 of 100 segments retransmitted, 2 came out of order")
    assert "50% of its sending time limited by the other's receive window" in said["TCP tester"]
    assert "its send buffer" not in said["TCP tester"]


def test_unequal_connections_are_named_where_no_load_makes_them_equal() -> None:
    equal = replace(FIGURES, least_written_bytes=600)
    assert shares([{"tester": equal}, {"tester": FIGURES, "dut": equal}, {}]) == (
        "unequal shares: of 2 TCP connections one took 25% of what another took"
    )
    none = replace(FIGURES, least_written_bytes=0, most_written_bytes=0)
    of_dut = replace(FIGURES, least_written_bytes=None, most_written_bytes=None)
    assert shares([{"tester": equal}, {"tester": none}, {"dut": of_dut}, {}]) == shares([]) == ""
    key = path("tcp_stream").key(frame="8000")
    assert "unequal shares" in dict(tcp_words(key, over_tcp()))["TCP tester"]
    assert "unequal shares" not in dict(tcp_words(key, over_tcp(intended_load_pps=1000.0)))["TCP tester"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tx_full": 9}, "for the far end took no more, and one connection without room holds up the others"),
        ({"tx_full": 9, "tcp": {"tester": replace(FIGURES, connections=1)}}, "took no more\n"),
        ({"tx_full": 0}, "the loss ratio is the tester's"),
        ({"tx_full": 9, "tcp": {}}, "the loss ratio is the tester's"),
    ],
)
def test_who_held_up_messages_that_were_never_sent_is_said(changes: dict[str, object], says: str) -> None:
    trial = over_tcp(intended_load_pps=2000.0, intended=2000, **changes)
    text = as_text(
        path("tcp").key(frame="64"), trial, Proof(proven=True, claim="x", evidence={}), {"engine": "socket"}
    )
    assert says in text + "\n"


def with_tcp(*, kernel_pps: float, own_pps: float | None) -> Run:
    """The sample run, with TCP rows of this PDR: the kernel's, and one of a program of the user's own."""
    rows = [("kernel", "tcp", kernel_pps), *([("command", "echo", own_pps)] if own_pps else [])]
    run, made = sample_run(), []
    for backend, mode, pps in rows:
        key = DatapathKey(
            backend=backend, mode=mode, topology="veth", link="veth", frame="64", traffic=MESSAGES
        )
        made += measurements(key, pps, 20.0, 10 * pps, 5, "ok")
    return replace(run, measurements=(*run.measurements, *made))


def test_over_tcp_a_row_is_compared_with_the_kernels_tcp_not_with_its_frames() -> None:
    run = with_tcp(kernel_pps=100e3, own_pps=300e3)
    found = answer(run)
    (detail,) = [one for one in found.details if "messages" in one]
    assert detail.startswith("veth, 64 B, messages: command echo messages 2.9")
    assert sum(one.startswith("veth, 64 B: ") for one in found.details) == 1
    only = replace(run, measurements=tuple(m for m in run.measurements if m.key.traffic))
    assert "on veth with messages of 64 B, command echo messages carried 2.9" in answer(only).lead
    assert "as many messages per second" in answer(only).lead


def test_the_kernels_tcp_alone_says_nothing_of_bypass_and_its_messages_are_no_packets() -> None:
    plain, run = sample_run(), with_tcp(kernel_pps=9e9, own_pps=None)
    assert answer(run).details == answer(plain).details
    for one, other in zip(reference_claims(run), reference_claims(plain), strict=True):
        assert "tcp" not in one.measured or one.statement.startswith("OpenOnload")
        assert one.statement == other.statement
