"""A real TRex server: its frames, its counts, its rates, and every datapath measured with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.backends.probe_dut import interfaces, reflecting
from labkit.lab import topology_file
from labkit.lab.live import lab_up
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers import base, probe
from labkit.testers.capture import SIGNATURE_BYTES, described, ip_header
from labkit.testers.frames import FrameSpec, frame_spec
from labkit.testers.trex.streams import LATENCY_BYTES
from labkit.testers.trex.tester import TrexTester, generating
from tests.lab.capture import captured
from tests.lab.traffics import ECHO, ECHO_FROM_MANY, ONE_TAG, OWN_MIX, TAGGED, checked, lab_of

pytestmark = pytest.mark.trex
WAIT_S = 600.0
DATAPATHS = [
    datapath
    for datapath in enumerate_datapaths(
        [topology_file.load(name) for name in ("veth", "veth-forward", "memif")]
    )
    if datapath.is_default_mode
]


@contextmanager
def reflected(directory: Path, impair: dict[str, object] | None = None) -> Iterator[TrexTester]:
    """TRex opposite a reflector that does this to frames."""
    with (
        lab_up(topology_file.load("veth")) as lab,
        generating(lab, str(directory)) as tester,
        reflecting(
            lab, engine="af_packet", ports=interfaces(lab), judge=lambda *_: (True, ""), impair=impair
        ),
    ):
        tester.set_frames(frame_spec(64), own_mac=False)
        yield tester


def named(frame: bytes) -> bytes:
    """A frame without what either tester writes into it: signature, payload, and what TRex counts its streams by."""
    found, (ip, version, _) = described(frame, "sent"), ip_header(frame)
    kept, payload, checksum = bytearray(frame), found.payload_offset, found.checksum_offset
    kept[payload : payload + SIGNATURE_BYTES] = bytes(SIGNATURE_BYTES)
    kept[-LATENCY_BYTES:] = bytes(LATENCY_BYTES)
    if version == 4:
        kept[ip + 1] = 0  # type of service
        kept[ip + 4 : ip + 6] = kept[ip + 10 : ip + 12] = bytes(2)  # identification, header checksum
    else:
        kept[ip + 1 : ip + 4] = bytes(3)  # traffic class, flow label
    if checksum != -1:
        kept[checksum : checksum + 2] = bytes(2)
    return bytes(kept)


@pytest.mark.parametrize(
    ("traffic", "spec"),
    [
        ("", frame_spec(64, flows=3)),
        ("", frame_spec(84, ip_version=6, flows=3)),
        ("", frame_spec(1518, ip_version=6)),
        ("", frame_spec("imix", flows=1)),
        (TAGGED, frame_spec(128)),
        (TAGGED, frame_spec(128, ip_version=6)),
        (ONE_TAG, frame_spec(68)),
        (ECHO, frame_spec(64, flows=7)),
        (ECHO_FROM_MANY, frame_spec(84, ip_version=6)),
        (OWN_MIX, frame_spec("imix")),
    ],
    ids=["64", "84-IPv6", "1518-IPv6", "imix", "QinQ", "QinQ-IPv6", "VLAN", "ICMP", "ICMP-IPv6", "mix"],
)
def test_both_testers_send_equal_bytes(trex_directory: Path, traffic: str, spec: FrameSpec) -> None:
    sent: dict[str, list[bytes]] = {}
    with lab_up(lab_of(traffic)) as lab:

        def burst(tester: base.Tester) -> list[bytes]:
            tester.set_frames(spec, own_mac=True)
            return captured(lab, lambda: tester.measure_burst(48))

        with probe.generating(lab, "af_packet") as ours:
            sent["probe"] = burst(ours)
        with generating(lab, str(trex_directory)) as trex:
            sent["trex"] = burst(trex)
    kept = {name: sorted(named(frame) for frame in frames) for name, frames in sent.items()}
    assert len(kept["probe"]) == 48
    assert kept["trex"] == kept["probe"]
    headers = [(frame, ip_header(frame)) for frame in sent["trex"]]
    for frame, (ip, version, _) in headers:
        if version == 4:
            assert checked(frame)[ip : ip + 20] == frame[ip : ip + 20]


@pytest.mark.parametrize("n", [10, 100])
def test_frames_that_a_dut_loses_are_counted_exactly(trex_directory: Path, n: int) -> None:
    with reflected(trex_directory, {"drop_one_in": n}) as trex:
        trial = trex.measure(load_pps=10_000, duration_s=1)
    assert trial.sent == trial.received + trial.lost
    assert trial.lost == trial.sent // n


def test_frames_that_a_dut_doubles_or_swaps_are_found(trex_directory: Path) -> None:
    with reflected(trex_directory, {"duplicate_one_in": 100}) as trex:
        doubled = trex.measure(load_pps=5_000, duration_s=1)
    with reflected(trex_directory, {"swap_neighbours": True}) as trex:
        swapped = trex.measure(load_pps=5_000, duration_s=1)
    assert doubled.received <= doubled.sent
    assert doubled.duplicates == doubled.sent // 100
    assert swapped.reordered > 0.4 * swapped.sent


@pytest.mark.parametrize("load_pps", [10_000, 50_000, 100_000])
def test_the_offered_rate_is_the_intended_one(trex_directory: Path, load_pps: float) -> None:
    with reflected(trex_directory) as trex:
        trials = [trex.measure(load_pps=load_pps, duration_s=1) for _ in range(5)]
    # A busy machine stretches a trial, which is then short of frames: the best one shows what TRex does.
    best = min(trials, key=lambda trial: abs(trial.offered_pps / load_pps - 1))
    assert best.offered_pps == pytest.approx(load_pps, rel=0.001)


def test_beyond_its_limit_the_rest_is_unsent(trex_directory: Path) -> None:
    with reflected(trex_directory) as trex:
        trial = trex.measure(load_pps=5e6, duration_s=0.5)
    assert trial.unsent > 0.5 * trial.intended
    assert trial.offered_pps < 2e6


@pytest.mark.parametrize("datapath", DATAPATHS, ids=lambda d: d.key(frame="any").id)
def test_every_datapath_is_measured(trex_directory: Path, datapath) -> None:
    settings = Settings(
        store=False, quick=True, wait_s=WAIT_S, tester_engine="trex", trex_dir=str(trex_directory)
    )
    with Session(settings, progress=Silent()) as session:
        if lacking := session.lacking(datapath):
            pytest.skip("; ".join(lacking))
        began = time.monotonic()
        found = session.measure.throughput(datapath, frame_spec(64))
        took_s = time.monotonic() - began
    assert found.proof.proven, found.proof
    assert found.tester["engine"] == "trex"
    assert found.throughput is not None
    print(f"{datapath.key(frame='64').id}: PDR {found.throughput.pdr}, {took_s:.0f} s")
