"""TRex's real client through whole trials, with a server of our own that goes wrong on request."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.backends.probe_dut import interfaces, reflecting
from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitError, ToolFailed
from labkit.harness.collecting import Topologies
from labkit.lab import topology_file
from labkit.lab.live import lab_up
from labkit.progress import Silent
from labkit.record.load import load as load_run
from labkit.results.report import html
from labkit.results.rows import rows
from labkit.results.side_by_side import side_by_side
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.base import DrainTime
from labkit.testers.frames import frame_spec
from labkit.testers.trex import environment
from labkit.testers.trex.tester import SHORTEST_TRIAL_S, TrexTester, generating
from tests.trex_server import Behaviour, install

pytestmark = pytest.mark.beside
DRAIN = DrainTime(late_share=None)
AS_IT_SHOULD = Behaviour()
LATE = DrainTime(quiet_ms=100, max_ms=200)


@contextmanager
def running(
    folder: Path,
    behaviour: Behaviour = AS_IT_SHOULD,
    lab: str = "veth",
    drain: DrainTime = DRAIN,
) -> Iterator[TrexTester]:
    install(folder, behaviour)
    with lab_up(topology_file.load(lab)) as up, generating(up, str(folder), drain=drain) as found:
        found.set_frames(frame_spec(64), own_mac=True)
        yield found


def left() -> str:
    """What runs of it."""
    return subprocess.run(
        ["pgrep", "--parent", str(os.getpid()), "-af", "_t-rex-64|testers/trex/worker.py"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


@pytest.mark.parametrize("lab", ["veth", "veth-forward", "memif"])
def test_a_trial_counts_what_was_sent_and_what_came_back(tmp_path: Path, lab: str) -> None:
    with running(tmp_path, Behaviour(drop_one_in=100, duplicates=3, reordered=2), lab) as trex:
        trial = trex.measure(load_pps=10_000, duration_s=0.5)
        described = trex.describe()
    assert trial.sent == 5000
    assert (trial.received, trial.duplicates, trial.reordered) == (4948, 3, 2)
    assert trial.rtt is not None
    assert trial.rtt.max_ns == 501_000
    assert trial.overhead_s < 1  # 0.1 s where nothing else runs
    assert (described["engine"], described["version"]) == ("trex", "v3.08")


def test_trials_follow_each_other_and_none_counts_those_before(tmp_path: Path) -> None:
    with running(tmp_path) as trex:
        for load_pps in (2000, 4000, 1000):
            assert trex.measure(load_pps=load_pps, duration_s=0.5).received == load_pps / 2


@pytest.mark.parametrize("size", [64, "imix"])
def test_a_burst_is_sent_once_and_to_the_frame(tmp_path: Path, size: int | str) -> None:
    with running(tmp_path) as trex:
        trex.set_frames(frame_spec(size), own_mac=True)
        trial = trex.measure_burst(1001)
    assert (trial.sent, trial.received, trial.intended) == (1001, 1001, 1001)


def test_as_fast_as_it_goes_is_stopped_and_counted_over_its_own_time(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(limit_pps=50_000)) as trex:
        trial = trex.measure(load_pps=None, duration_s=0.5)
    assert trial.unsent == 0
    assert trial.offered_pps <= 50_000
    assert trial.offered_pps == pytest.approx(50_000, rel=0.3)  # its start and its stop are in the time


def test_a_load_beyond_its_limit_is_unsent_and_not_sent_later(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(limit_pps=5000)) as trex:
        trial = trex.measure(load_pps=20_000, duration_s=0.5)
    assert trial.intended >= 10_000
    assert trial.unsent == trial.intended - trial.sent > 7000
    assert trial.offered_pps <= 5000


def test_a_server_that_sends_less_than_it_says_has_not_offered_the_load(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(short_by=100)) as trex:
        trial = trex.measure(load_pps=10_000, duration_s=0.5)
    assert trial.sent == 4900
    assert trial.unsent >= 100


def test_a_short_trial_is_made_long_enough_for_its_end_to_be_seen(tmp_path: Path) -> None:
    with running(tmp_path) as trex:
        assert trex.measure(load_pps=10_000, duration_s=0.1).duration_s >= SHORTEST_TRIAL_S


def test_frames_lost_in_its_own_rings_are_counted_as_its_own(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(ring_drops=7)) as trex:
        trex.measure(load_pps=10_000, duration_s=0.5)
        assert trex.counters()["trex port 0"]["rx_missed_errors"] == 7


def test_queue_full_is_counted(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(queue_full=5)) as trex:
        assert trex.measure(load_pps=10_000, duration_s=0.5).tx_full == 5


def test_latency_that_a_nic_does_not_have_is_not_measured(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(no_latency=True)) as trex:
        trial = trex.measure(load_pps=10_000, duration_s=0.5)
    assert (trial.received, trial.rtt) == (5000, None)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour(dies_after_s=0.2), "the TRex server ended with exit code 3"),
        (Behaviour(stolen_after_s=0.2), "must be acquired"),
        (Behaviour(skips_an_event=True), "TRex client was killed by SIGTERM"),
        (Behaviour(others_sent=50), "has another user sent through this server"),
        (Behaviour(refuses_streams="Can't have two streams with same pg_id"), "two streams with same pg_id"),
    ],
)
def test_what_goes_wrong_in_a_trial_is_named(tmp_path: Path, behaviour: Behaviour, said: str) -> None:
    with running(tmp_path, behaviour) as trex, pytest.raises(ToolFailed, match=said):
        trex.measure(load_pps=10_000, duration_s=0.5)


def test_a_server_that_stops_answering_ends_the_trial(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        running(tmp_path, Behaviour(hangs_after_s=0.2)) as trex,
        pytest.raises(LabkitError, match="TRex client, trial"),
    ):
        trex.measure(load_pps=10_000, duration_s=0.5)
    assert time.monotonic() - began < 60
    assert left() == ""


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour(api=(6, 0)), "RPC version mismatch"),
        (Behaviour(fails_to_start="EAL: Bus (vdev) probe failed."), "ended with exit code 1: EAL: Bus"),
        (
            Behaviour(fails_to_start="eth_af_packet: call to mmap failed on AF_PACKET socket"),
            "may not lock the memory of its ports' rings, one to send and one to receive: it takes 32 MiB a port",
        ),
    ],
)
def test_what_goes_wrong_at_the_start_is_named(tmp_path: Path, behaviour: Behaviour, said: str) -> None:
    with pytest.raises(LabkitError, match=said), running(tmp_path, behaviour):
        pass
    assert left() == ""


def test_a_version_that_was_never_tried_is_named(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(version="v9.99")) as trex:
        assert "TRex v9.99 was not tried with labkit, v3.08 was" in str(trex.describe()["engine_note"])


def test_a_whole_run_is_measured_with_frames_that_really_cross_the_link(tmp_path: Path) -> None:
    install(tmp_path / "trex", Behaviour(sends=True, limit_pps=4000))
    settings = Settings(
        quick=True,
        results=tmp_path / "results",
        wait_s=600,
        tester_engine="trex",
        trex_dir=str(tmp_path / "trex"),
    )
    (datapath,) = [
        d
        for d in enumerate_datapaths([topology_file.load("veth")])
        if (d.backend.name, d.mode.name) == ("af_packet", "")
    ]
    with Session(settings, progress=Silent()) as session:
        found = session.measure.mrr(datapath, frame_spec(64))
    assert found.mrr is not None
    assert found.proof.proven, found.proof
    assert found.mrr.median_pps > 100
    assert found.tester["engine"] == "trex"
    assert found.tester["max_offered_load_pps"] > 100  # type: ignore[operator]
    assert set(found.tester["rtt_floor_us"]) == {"p50", "p99"}  # type: ignore[call-overload]
    assert any("begin when it sent a frame" in text for text in found.deviations)
    assert found.deviations[0].startswith("final trials of 0.5 s,")
    assert all(trial.duration_s >= 0.5 for trial in found.mrr.trials)
    assert [gate.state for gate in found.gates if gate.name == "rx-missed"] == ["ok"]


def test_two_testers_measure_a_datapath_side_by_side(tmp_path: Path) -> None:
    install(tmp_path / "trex", Behaviour(sends=True, limit_pps=4000))
    labs = Topologies(["veth"], ("probe", "trex"), tester_option="--tester").chosen
    datapaths = [
        one for one in enumerate_datapaths(labs) if (one.backend.name, one.mode.name) == ("af_packet", "")
    ]
    settings = Settings(quick=True, results=tmp_path / "results", wait_s=600, trex_dir=str(tmp_path / "trex"))
    with Session(settings, progress=Silent()) as session:
        for datapath in datapaths:
            session.measure.mrr(datapath, frame_spec(64))
        folder = session.recorder.folder
    assert folder is not None
    run = load_run(folder)
    ((probe, trex),) = side_by_side(run, rows(run))
    assert (probe.engine, trex.engine) == ("af_xdp", "trex")
    assert (probe.row.topology, trex.row.topology) == ("veth", "veth+trex")
    for one in (probe, trex):
        assert one.own_p50_us is not None
        assert one.max_offered_load_pps is not None
    assert "Testers side by side" in html(run)


def test_nothing_stays_after_it(tmp_path: Path) -> None:
    with running(tmp_path) as trex:
        trex.measure(load_pps=1000, duration_s=0.5)
        assert left()
    assert left() == ""


def test_an_environment_that_cannot_be_made_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(environment, "REQUIREMENT", "lbr-trex-client==3.4.0 --hash=sha256:" + 64 * "0")
    with pytest.raises(EnvironmentBroken, match="could not install TRex's client"):
        environment.client_python()
    assert [one.name for one in (tmp_path / "cache" / "labkit" / "trex-client").iterdir()] == ["lock"]


def test_a_python_that_the_client_does_not_run_with_is_named_when_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a version that is too new does: a library of the client fails where it is imported."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    worker = tmp_path / "worker.py"
    worker.write_text("import sys\nsys.modules['collections'] = None\n" + environment.WORKER.read_text())
    monkeypatch.setattr(environment, "WORKER", worker)
    with pytest.raises(EnvironmentBroken, match=r"cannot run TRex's client, .* 3\.8 to 3\.13: .*Error: "):
        environment.client_python()
    assert [one.name for one in (tmp_path / "labkit" / "trex-client").iterdir()] == ["lock"]


def test_a_cache_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "labkit").write_text("")
    with pytest.raises(EnvironmentBroken, match="cannot be installed in"):
        environment.client_python()


def test_what_a_killed_process_left_of_an_environment_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    left = tmp_path / "labkit" / "trex-client" / ".making-left"
    left.mkdir(parents=True)
    assert Path(environment.client_python()).exists()
    assert not left.exists()
    left.mkdir()
    environment.client_python()
    assert not left.exists(), "the environment is there already"


def test_an_environment_that_everybody_may_write_to_is_not_run_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = Path(environment.client_python()).parents[1]
    monkeypatch.setenv("SUDO_UID", "1")
    monkeypatch.setenv("SUDO_GID", "1")
    assert environment.client_python()
    made.chmod(0o777)
    with pytest.raises(EnvironmentBroken, match="writable by everybody: root does not run it"):
        environment.client_python()


@pytest.mark.parametrize("delay_ms", [0, 60])
def test_a_path_that_is_slow_but_steady_has_no_late_frames(tmp_path: Path, delay_ms: int) -> None:
    """Late is counted from the shortest round trip on."""
    install(tmp_path, Behaviour(sends=True, limit_pps=4000))
    impair: dict[str, object] | None = {"delay_ns": delay_ms * 1_000_000} if delay_ms else None
    with (
        lab_up(topology_file.load("veth")) as lab,
        reflecting(
            lab, engine="af_packet", ports=interfaces(lab), judge=lambda *_: (True, ""), impair=impair
        ),
        generating(lab, str(tmp_path), drain=LATE) as trex,
    ):
        trex.set_frames(frame_spec(64), own_mac=False)
        trial = trex.measure(load_pps=1000, duration_s=0.5)
    assert trial.received > 0.5 * trial.sent
    assert trial.late <= 0.2 * trial.sent
    assert trial.rtt is not None
    assert trial.rtt.min_ns >= delay_ms * 1_000_000


def test_a_lab_on_vhost_has_no_trex(tmp_path: Path) -> None:
    install(tmp_path)
    with (
        lab_up(topology_file.load("vhost")) as lab,
        pytest.raises(ConfigInvalid, match="vhost"),
        generating(lab, str(tmp_path)),
    ):
        pass
