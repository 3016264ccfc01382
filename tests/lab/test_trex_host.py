"""A lab on NICs whose tester is a TRex server on another host: a unit there, reached through the SSH connection."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import trex_unit

from tests import real_trex
from tests.lab.trex_host import TrexHost, archive, trex_host
from tests.lab.two_hosts import NEEDS_SSH_SERVER, eventually
from tests.trex_server import Behaviour

pytestmark = [pytest.mark.beside, NEEDS_SSH_SERVER]
VERSION = "v3.08"
UNIT = trex_unit.LAB.unit
LONG = ("--backend", "af_packet", "--duration", "60 s", "--load", "500 pps")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrexHost]:
    """Without TRex."""
    with trex_host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture(scope="module")
def host(bare: TrexHost, tmp_path_factory: pytest.TempPathFactory) -> TrexHost:
    """With it."""
    file = tmp_path_factory.mktemp("archive") / f"{VERSION}.tar.gz"
    sha256 = archive(file, VERSION, Behaviour(sends=True, listens="0.0.0.0"))
    bare.put_archive(file)
    bare.site(VERSION, sha256)
    return bare


def running(host: TrexHost) -> subprocess.Popen[str]:
    """A trial whose frames are under way."""
    process = subprocess.Popen(
        host.argv("trial", "--tester", "trex", *LONG),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    sending = ("systemctl", "is-active", "--quiet", UNIT)
    assert eventually(lambda: host.made.run(*sending).returncode == 0 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[1]
    counted = ("cat", "/sys/class/net/nic0/statistics/tx_packets")
    before = int(host.run(*counted))
    assert eventually(lambda: int(host.run(*counted)) > before + 100 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[1]
    return process


def test_a_host_without_a_server_is_named_with_what_installs_it(bare: TrexHost) -> None:
    done = bare.trial("--backend", "af_packet")

    assert done.returncode == 3
    why = "on far: trex_server: no TRex server is installed here (fix: give the host trex_version and trex_sha256"
    assert why in done.stderr
    assert "ansible-playbook -i INVENTORY ansible/site.yml --tags trex" in done.stderr


@pytest.mark.parametrize("backend", ["kernel", "af_packet", "xdp"])
def test_its_frames_reach_the_dut_and_come_back_and_nothing_stays(host: TrexHost, backend: str) -> None:
    before, here = host.left(), host.here.state()

    done = host.trial("--backend", backend, "--json", "--duration", "500 ms", "--load", "1 kpps")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["trial"]["sent"] == 500
    assert answer["trial"]["received"] == 500
    assert answer["proof"]["proven"]
    assert answer["tester"]["engine"] == "trex"
    assert answer["tester"]["version"] == VERSION
    assert answer["tester"]["configured"] == "low-end mode" or len(os.sched_getaffinity(0)) > 3
    assert (host.left(), host.here.state()) == (before, here)


def test_others_do_not_reach_it_while_it_runs(host: TrexHost) -> None:
    process = running(host)
    try:
        pid = host.run("systemctl", "show", "--property=MainPID", "--value", UNIT).strip()
        own = json.loads(host.run("ip", "-json", "address", "show", "dev", "nic0"))[0]["addr_info"][0][
            "local"
        ]
        connects = "import socket, sys; socket.create_connection((sys.argv[1], 4511), timeout=1)"
        assert host.made.run("/usr/bin/python3", "-c", connects, "127.0.0.1").returncode == 0
        assert host.made.run("/usr/bin/python3", "-c", connects, own).returncode != 0
        rights = host.run("grep", "CapEff", f"/proc/{pid}/status").split()[1]
        assert int(rights, 16) & ~sum(1 << one for one in (12, 13, 14)) == 0  # net_admin, net_raw, ipc_lock
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


def test_a_server_that_dies_in_a_trial_is_reported_and_nothing_stays(host: TrexHost) -> None:
    before = host.left()
    process = running(host)

    host.run("systemctl", "kill", "--signal=KILL", UNIT)

    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert "the TRex server has ended" in errors
    assert f"Starting  TRex {VERSION}" in errors
    assert host.left() == before


def test_a_killed_controller_leaves_nothing_there(host: TrexHost) -> None:
    before = host.left()
    process = running(host)

    os.killpg(process.pid, signal.SIGKILL)

    process.communicate()
    assert eventually(lambda: host.left() == before), host.left()


def test_what_a_killed_agent_leaves_is_removed_by_labkit_down(host: TrexHost) -> None:
    before = host.left()
    process = running(host)

    host.run("pkill", "-KILL", "-f", "labkit.cli agent")

    process.communicate(timeout=90)
    assert process.returncode not in (0, None)
    assert UNIT in host.left()
    done = host.run("sh", "-c", "labkit down 2>&1")
    assert f"unit {UNIT}" in done
    time.sleep(0.2)
    assert host.left() == before


@pytest.mark.trex
def test_a_real_server_counts_every_frame(bare: TrexHost, trex_directory: Path, tmp_path: Path) -> None:
    archive = real_trex.packed(trex_directory, tmp_path)
    bare.put_archive(archive.file)
    bare.site(archive.version, archive.sha256)
    before = bare.left()

    done = bare.trial("--backend", "af_packet", "--json", "--duration", "1 s", "--load", "2 kpps")

    assert done.returncode == 0, done.stderr
    trial = json.loads(done.stdout)["trial"]
    assert trial["sent"] == trial["received"]
    assert 1998 <= trial["sent"] <= 2002
    assert bare.left() == before
