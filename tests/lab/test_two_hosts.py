"""A lab of two hosts: tester here, DUT reached by SSH, with real interfaces at both ends of a cable."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.ssh_host import ROUND_TRIP_S, TwoHosts, kill

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(
        shutil.which("dropbear", path="/usr/sbin:/usr/bin:/sbin:/bin") is None,
        reason="no SSH server to reach a namespace by: apt-get install dropbear-bin",
    ),
]
DEADLINE_S = 30.0
RUN_S = 400.0
"""A run takes 15 s here; on a machine of half the speed, with another test beside, several times that."""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[TwoHosts]:
    hosts = TwoHosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.end()


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def running(two: TwoHosts, engine: str) -> bool:
    """Whether the probe runs on alpha: not what starts it."""
    lines = two.alpha.processes().values()
    return any(line.startswith("/") and line.endswith(f"/labkit-probe-{engine}") for line in lines)


def long_trial(two: TwoHosts) -> subprocess.Popen[str]:
    """A trial that runs: the DUT's probe is up on alpha."""
    process = subprocess.Popen(
        two.argv("trial", "--duration", "60 s"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert eventually(lambda: running(two, "socket") or process.poll() is not None)
    assert process.poll() is None
    return process


ALL_PATHS = """
import json, sys
from pathlib import Path
from labkit.lab.topology_file import load
from labkit.progress import StreamProgress
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec

found = {}
with Session(Settings(store=False), progress=StreamProgress(sys.stderr)) as session:
    for datapath in enumerate_datapaths([load(sys.argv[1])]):
        name = f"{datapath.backend.name} {datapath.mode.name}".strip()
        if lacking := session.lacking(datapath):
            found[name] = {"lacking": lacking}
            continue
        trial, proof, tester = session.one_trial(datapath, frame_spec("64"), load_pps=2000.0, duration_s=0.5)
        found[name] = {"sent": trial.sent, "received": trial.received, "proven": proof.proven, "claim": proof.claim}
print(json.dumps(found))
"""


def test_frames_take_every_path_on_the_other_host_and_nothing_stays_there(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    printed = two.here.run(sys.executable, "-c", ALL_PATHS, str(two.topology))
    found = json.loads(printed)
    assert set(found) == {"kernel", "af_packet", "xdp", "af_xdp", "af_xdp busy_poll"}
    assert "lacking" not in found["kernel"], found
    for name, one in found.items():
        if "lacking" not in one:
            assert one["proven"], (name, one)
            assert one["received"] > 0.5 * one["sent"] > 0, (name, one)
    assert (two.here.state(), two.alpha.state()) == before
    assert not two.alpha.processes()


def test_a_host_is_reached_as_ansibles_inventory_says(two: TwoHosts) -> None:
    two.write_inventory()
    two.write_topology(dut="beta")
    done = two.trial("--json", "--duration", "200 ms", "--inventory", str(two.inventory))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proof"]["proven"]


def test_a_killed_controller_leaves_nothing_on_either_host(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = long_trial(two)
    assert two.alpha.state() != before[1]
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    assert eventually(lambda: not two.here.processes())
    assert (two.here.state(), two.alpha.state()) == before


STOPPED = """
import sys
from labkit.lab import machines
from labkit.cli import main

machines.ALIVE_EVERY_S, machines.LOST_AFTER_S = 0.5, 4.0
sys.exit(main(sys.argv[1:]))
"""


def test_a_host_whose_controller_is_not_heard_of_reverts_by_itself(two: TwoHosts) -> None:
    before = two.alpha.state()
    _, _, _, *arguments = two.argv("trial", "--duration", "60 s")[len(two.here.enter) :]
    process = subprocess.Popen(
        [*two.here.enter, sys.executable, "-c", STOPPED, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert eventually(lambda: running(two, "socket") or process.poll() is not None)
        time.sleep(8)
        assert running(two, "socket"), "it is heard of as long as it runs"
        for pid in two.here.processes():  # as a machine that lost its power: no connection is closed
            os.kill(pid, signal.SIGSTOP)
        assert eventually(lambda: not two.alpha.processes())
        assert "198.18.0.2" not in two.alpha.state()
    finally:
        for pid in two.here.processes():
            os.kill(pid, signal.SIGKILL)
        process.wait()
    # Offloads of a veth could not be reverted as long as a program was on its other end.
    two.alpha.run("sh", "-c", "labkit down")
    assert two.alpha.state() == before


HOLDER = """
import sys, time
from labkit.machine.lock import measuring

with measuring(wait_s=0):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def holder(two: TwoHosts) -> Iterator[subprocess.Popen[str]]:
    """A process that measures on alpha."""
    process = subprocess.Popen(
        [*two.alpha.enter, sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    if process.poll() is None:
        kill(process)
    process.stdout.close()


def test_a_host_on_which_another_measures_is_refused_with_its_holder(
    two: TwoHosts, holder: subprocess.Popen[str]
) -> None:
    before = two.alpha.state()
    done = two.trial("--wait", "0")
    assert done.returncode == 3
    assert "labkit's agent on alpha, reserve: another measurement runs on this machine" in done.stderr
    assert re.search(r"pid \d+, user root, started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: ", done.stderr)
    assert two.alpha.state() == before


def test_a_host_on_which_another_measures_is_waited_for(two: TwoHosts, holder: subprocess.Popen[str]) -> None:
    waiting = subprocess.Popen(
        two.argv("trial", "--wait", "2min", "--duration", "200 ms", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert any("waiting, 1" in line for line in waiting.stderr)
    kill(holder)
    output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert json.loads(output)["proof"]["proven"]


def test_a_host_that_the_inventory_lacks_is_named_before_the_first_test(two: TwoHosts) -> None:
    two.write_inventory()
    two.write_topology(dut="gamma")
    results = two.folder / "results"
    run = two.argv("run", "--quick", "--inventory", str(two.inventory), "--results", str(results))
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=RUN_S)
    assert done.returncode == 2
    assert "gamma" in done.stdout + done.stderr
    assert "passed" not in done.stdout
    assert not results.exists()


def test_what_a_killed_agent_left_is_reverted_there_by_labkit_down(two: TwoHosts) -> None:
    before = two.alpha.state()
    process = long_trial(two)
    assert two.alpha.kill(" -m labkit.cli agent")
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    assert two.alpha.state() != before
    printed = two.alpha.run("sh", "-c", "labkit down")
    assert "nic0 link-local addresses: as the kernel makes them -> none: reverted" in printed
    assert "nic0 mtu" not in printed  # it was 1500 already
    assert re.search(r"nic0 address 198.18.0.2/24: present -> absent: reverted", printed)
    assert two.alpha.state() == before


def test_what_was_changed_of_an_interface_that_is_gone_since_is_gone_with_it(two: TwoHosts) -> None:
    process = long_trial(two)
    assert two.alpha.kill(" -m labkit.cli agent")
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    two.alpha.run("ip", "link", "delete", "nic0")
    printed = two.alpha.run("sh", "-c", "labkit down")
    assert "LEFT" not in printed
    assert "nothing to revert" in two.alpha.run("sh", "-c", "labkit down")


def test_the_controllers_own_wake_ups_are_not_measured_as_those_of_such_a_lab(two: TwoHosts) -> None:
    function_only = ("--quick", "--allow-invalid", "--retry", "0", "-m", "lowlatency")
    run = [
        *two.argv("run", *function_only, "--results", str(two.folder / "results")),
        "--",
        "-k",
        "test_wakeup",
    ]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=RUN_S)
    why = "skip wake-up on two: topology two is on alpha: only this machine itself can be measured"
    assert why in done.stdout, done.stdout + done.stderr
    assert "host: kernel" not in done.stdout  # nor the controller's kernel shown


def test_a_host_that_cannot_be_reached_is_a_reason_with_its_fix(two: TwoHosts) -> None:
    two.write_topology(dut="nobody.invalid")
    done = two.trial()
    assert done.returncode == 3
    assert "nobody.invalid cannot be reached: ssh: " in done.stderr
    assert "check it by: ssh nobody.invalid true" in done.stderr


def test_another_labkit_there_is_refused(two: TwoHosts, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    package = Path(__file__).parents[2] / "labkit"
    shutil.copytree(package, elsewhere / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    with (elsewhere / "labkit/units.py").open("a") as file:
        file.write("# changed\n")
    two.install(before=f"PYTHONPATH={elsewhere}")
    done = two.trial()
    assert done.returncode == 3
    assert "alpha has another labkit" in done.stderr


def test_an_interface_that_is_not_there_is_named_with_its_host(two: TwoHosts) -> None:
    two.topology.write_text(two.topology.read_text().replace("nic0", "nic7"))
    done = two.trial()
    assert done.returncode == 3
    assert "there is no interface named nic7 here" in done.stderr


def test_a_cable_that_is_not_there_is_named(two: TwoHosts) -> None:
    for place in (two.here, two.alpha):
        place.run("sh", "-ec", "ip link delete nic0 2>/dev/null || true")
        # An end of a pair whose other end stays down: no carrier.
        place.run("sh", "-ec", "ip link add nic0 type veth peer name other; ip link set nic0 up; sleep 0.1")
        place.run("ip", "link", "set", "nic0", "down")
    before = (two.here.state(), two.alpha.state())
    done = two.trial()
    assert done.returncode == 3
    assert "nic0 has no carrier 15 s after it was set up" in done.stderr
    assert "check the cable" in done.stderr
    assert (two.here.state(), two.alpha.state()) == before


@pytest.mark.parametrize("side", ["here", "alpha"])
def test_an_interface_that_the_way_to_the_host_needs_is_left_alone(two: TwoHosts, side: str) -> None:
    place = getattr(two, side)
    place.run(
        "sh",
        "-ec",
        "ip link set nic0 up; ip address add 192.0.2.1/24 dev nic0; ip route add default dev nic0",
    )
    before = place.state()
    done = two.trial()
    assert done.returncode == 3
    assert (
        f"labkit's agent on {side}, find: nic0 is left alone, because the way to this host needs it"
        in done.stderr
    )
    assert "the default route goes over it" in done.stderr
    assert place.state() == before


def test_a_dut_that_dies_is_named_with_its_last_words(two: TwoHosts) -> None:
    before = two.alpha.state()
    process = subprocess.Popen(
        two.argv("trial", "--backend", "af_packet", "--duration", "5 s"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually(lambda: running(two, "af_packet") or process.poll() is not None)
    assert two.alpha.kill("/labkit-probe-af_packet")
    assert process.wait(timeout=60) == 4
    assert process.stderr is not None
    assert (
        "dut (labkit-probe-af_packet) was killed on alpha, or the connection to alpha was lost,"
        in process.stderr.read()
    )
    process.stderr.close()
    assert two.alpha.state() == before


def two_cables(two: TwoHosts, *, crossed: bool) -> None:
    """A second cable, and a lab file in which each leads from a port to the one of the same number."""
    ends = [str(place.process.pid) for place in (two.here, two.alpha)]
    subprocess.run(
        [
            "ip",
            "link",
            "add",
            "nic1",
            "netns",
            ends[0],
            "type",
            "veth",
            "peer",
            "name",
            "nic1",
            "netns",
            ends[1],
        ],
        check=True,
    )
    two.use("nic1")
    if crossed:
        two.alpha.run(
            "sh", "-ec", "ip link set nic0 name was0; ip link set nic1 name nic0; ip link set was0 name nic1"
        )
    lab = json.loads(two.topology.read_text())
    other = json.loads(
        json.dumps(lab["links"][0]).replace("198.18.0.", "198.18.1.").replace("2001:2::", "2001:2:0:1::")
    )
    lab["links"].append({**json.loads(json.dumps(other).replace("nic0", "nic1")), "name": "second"})
    lab["backends"] = ["af_packet"]
    two.topology.write_text(json.dumps(lab))


def test_frames_are_forwarded_from_one_cable_to_the_other(two: TwoHosts) -> None:
    two_cables(two, crossed=False)
    done = two.trial("--backend", "af_packet", "--duration", "200 ms", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proof"]["proven"]


@pytest.mark.parametrize("ip", [(), ("--ipv6", "--frame", "84")])
def test_the_kernel_forwards_from_one_cable_to_the_other_and_nowhere_else(
    two: TwoHosts, ip: tuple[str, ...]
) -> None:
    if ip and not Path("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists():
        pytest.skip(
            "before Linux 6.17 the kernel forwards IPv6 between all interfaces of a host, or between none"
        )
    two_cables(two, crossed=False)
    lab = json.loads(two.topology.read_text())
    two.topology.write_text(json.dumps({**lab, "backends": ["kernel"]}))
    before = (two.here.state(), two.alpha.state())
    done = two.trial("--duration", "200 ms", "--json", *ip)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    evidence = found["proof"]["evidence"]
    assert found["proof"]["proven"]
    assert evidence["forwarded_datagrams"] >= found["trial"]["received"] > 0
    assert evidence.get("net/ipv6/conf/all/forwarding", "0") == "0"
    assert (two.here.state(), two.alpha.state()) == before


SENDS = """
import socket, time
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("nic1", 0))
while True:
    sender.send(bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46))
    time.sleep(0.001)
"""


def test_what_another_program_sends_is_not_taken_for_forwarding_by_the_kernel(two: TwoHosts) -> None:
    two_cables(two, crossed=False)
    lab = json.loads(two.topology.read_text())
    two.topology.write_text(json.dumps({**lab, "backends": ["kernel"]}))
    process = subprocess.Popen(
        two.argv("trial", "--duration", "3 s", "--load", "1 kpps", "--json"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert eventually(
        lambda: "state UP" in two.alpha.run("ip", "link", "show", "nic1") or process.poll() is not None
    )
    with subprocess.Popen([*two.alpha.enter, sys.executable, "-c", SENDS]) as sender:
        output, _ = process.communicate(timeout=RUN_S)
        sender.kill()
    found = json.loads(output)
    assert found["trial"]["received"] > 0
    assert found["proof"]["evidence"]["sent_frames"] > found["proof"]["evidence"]["forwarded_datagrams"]
    assert not found["proof"]["proven"]


def test_crossed_cables_are_named_and_nothing_is_left_changed(two: TwoHosts) -> None:
    two_cables(two, crossed=True)
    before = (two.here.state(), two.alpha.state())
    done = two.trial("--backend", "af_packet")
    assert done.returncode == 3
    assert f"the cables are not as {two.topology} says" in done.stderr
    assert "nic0 of here leads to nic1 of alpha, not to nic0 of alpha (link cable)" in done.stderr
    assert "nic1 of here leads to nic0 of alpha, not to nic1 of alpha (link second)" in done.stderr
    assert "swap the ports" in done.stderr
    assert (two.here.state(), two.alpha.state()) == before


UP_AND_DOWN = """
import sys, time
from labkit.lab.live import lab_up
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.machines import Machines

topology, began = load(sys.argv[1]), time.monotonic()
machines = Machines((), wait_s=0.0, progress=Silent())
try:
    with lab_up(topology, reach=machines.reach):
        pass
finally:
    machines.close()
print(time.monotonic() - began)
"""
TRIALS = """
import statistics, sys, time
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec

times = []
with Session(Settings(store=False), progress=Silent()) as session:
    datapath = next(d for d in enumerate_datapaths([load(sys.argv[1])]) if d.backend.name == "kernel")
    testbed = session._testbeds.testbed(datapath, 4)
    testbed.set_frames(frame_spec("64"))
    for _ in range(6):
        began = time.monotonic()
        trial = testbed.measure(load_pps=1000.0, duration_s=0.2)
        times.append(time.monotonic() - began)
print(statistics.median(times))
"""


def round_trips(two: TwoHosts, script: str, role: str) -> float:
    """How many round trips to the host of this role a script waits for, by the time that each of them adds."""
    took_s = {}
    for name in ROUND_TRIP_S:
        two.write_topology(**{"tester": "here", "dut": "here", role: name})
        took_s[name] = float(two.here.run(sys.executable, "-c", script, str(two.topology)).splitlines()[-1])
    return (took_s["far"] - took_s["near"]) / ROUND_TRIP_S["far"]


def test_a_lab_comes_up_and_goes_down_in_thirty_round_trips(two: TwoHosts) -> None:
    assert 5 < round_trips(two, UP_AND_DOWN, "dut") <= 30


def test_a_trial_on_a_remote_tester_takes_one_round_trip(two: TwoHosts) -> None:
    assert 0.5 < round_trips(two, TRIALS, "tester") <= 1.5


STAYS = """
import sys, time
from labkit.cli import main

began = time.monotonic()
main(["up", "--topology", sys.argv[1]])
main(["down"])
print(time.monotonic() - began)
"""


def test_a_lab_that_stays_takes_thirty_round_trips_as_well(two: TwoHosts) -> None:
    assert 5 < round_trips(two, STAYS, "dut") <= 30


def labkit(two: TwoHosts, *arguments: str) -> subprocess.CompletedProcess[str]:
    """labkit on the controller, without a topology."""
    argv = [*two.here.enter, sys.executable, "-m", "labkit.cli", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=RUN_S)


def test_a_lab_stays_up_without_its_controller_until_it_is_taken_down(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    up = subprocess.run(two.argv("up"), capture_output=True, text=True, check=False, timeout=RUN_S)
    assert up.returncode == 0, up.stderr
    assert "dut     nic0 of alpha" in up.stdout
    assert not two.alpha.processes()
    there = two.alpha.state()
    assert there != before[1]
    assert "two: up since" in labkit(two, "status").stdout
    assert re.search(r"two: up since \S+ by root@\S+; ", two.alpha.run("labkit", "status"))
    again = subprocess.run(two.argv("up"), capture_output=True, text=True, check=False, timeout=RUN_S)
    assert again.returncode == 3
    assert "the lab two is up" in again.stderr

    trial = labkit(two, "trial", "--duration", "200 ms", "--json")

    assert trial.returncode == 0, trial.stderr
    assert json.loads(trial.stdout)["proof"]["proven"]
    assert two.alpha.state() == there
    down = labkit(two, "down")
    assert down.returncode == 0, down.stderr
    assert ": alpha: nic0 state: up -> down: reverted" in down.stdout
    assert ": nic0 state: up -> down: reverted" in down.stdout
    assert (two.here.state(), two.alpha.state()) == before
    assert "no lab is up" in labkit(two, "status").stdout
    assert "no lab is up" in two.alpha.run("labkit", "status")


def test_a_lab_that_was_taken_down_on_its_host_is_said_to_be_gone(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    subprocess.run(two.argv("up"), capture_output=True, check=True, timeout=RUN_S)
    two.alpha.run("labkit", "down")
    assert two.alpha.state() == before[1]
    trial = labkit(two, "trial")
    assert trial.returncode == 3
    assert "the lab is no longer up there" in trial.stderr
    assert labkit(two, "down").returncode == 0
    assert (two.here.state(), two.alpha.state()) == before


def test_a_lab_whose_host_cannot_be_reached_is_kept_on_record_until_it_is_down(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    subprocess.run(two.argv("up"), capture_output=True, check=True, timeout=RUN_S)
    (two.folder / "server").rename(two.folder / "gone")
    down = labkit(two, "down")
    assert down.returncode == 3
    assert "alpha: LEFT: alpha cannot be reached" in down.stdout
    assert "two: up since" in labkit(two, "status").stdout
    (two.folder / "gone").rename(two.folder / "server")
    assert labkit(two, "down").returncode == 0
    assert (two.here.state(), two.alpha.state()) == before


def test_a_killed_up_leaves_what_down_reverts(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(two.argv("up"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert eventually(lambda: two.alpha.state() != before[1])
    kill(process)
    assert eventually(lambda: not two.alpha.processes())
    assert labkit(two, "down").returncode == 0
    assert (two.here.state(), two.alpha.state()) == before


def test_one_host_measures_over_a_cable_between_two_of_its_ports(two: TwoHosts) -> None:
    two.here.run("ip", "link", "add", "nic1", "type", "veth", "peer", "name", "nic2")
    for state in ("up", "down"):  # it has been in use
        two.here.run("sh", "-ec", f"ip link set nic1 {state}; ip link set nic2 {state}; sleep 0.1")
    two.write_topology(dut="here")
    lab = json.loads(two.topology.read_text())
    (link,) = lab["links"]
    link["tester"]["interface"], link["dut"]["interface"] = "nic1", "nic2"
    two.topology.write_text(json.dumps(lab))
    before = two.here.state()
    done = two.trial("--backend", "af_packet", "--duration", "200 ms", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["proof"]["proven"]
    assert found["trial"]["received"] > 0.5 * found["trial"]["sent"] > 0
    assert two.here.state() == before
    done = two.trial("--backend", "kernel")
    assert done.returncode == 2
    assert "backend kernel is not measured on any of the chosen topologies" in done.stderr
    assert "backends that are measured there: af_packet, xdp, af_xdp\n" in done.stderr


FACTS = """
import json
from labkit.machine import nic_driver
print(json.dumps([nic_driver.driver(name) and nic_driver.driver(name).name for name in ("nic0", "lo", "nosuch0")]))
"""


def test_the_driver_of_an_interface_is_read(two: TwoHosts) -> None:
    assert json.loads(two.alpha.run(sys.executable, "-c", FACTS)) == ["veth", None, None]


MEASURED = """
import json, sys
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec

with Session(Settings(store=False, quick=True, listen_s=0.0), progress=Silent()) as session:
    datapath = next(d for d in enumerate_datapaths([load(sys.argv[1])]) if d.backend.name == "kernel")
    measured = session.measure.mrr(datapath, frame_spec("64"))
print(json.dumps({"gates": {g.name: g.state for g in measured.gates}, "nics": measured.tester["nics"]}))
"""


def test_what_the_nics_of_both_hosts_counted_belongs_to_a_measurement(two: TwoHosts) -> None:
    found = json.loads(two.here.run(sys.executable, "-c", MEASURED, str(two.topology)))
    assert found["nics"].keys() == {"here", "alpha"}
    assert all(found["nics"][host]["nic0"]["rx_packets"] > 0 for host in ("here", "alpha"))
    assert {
        found["gates"][name] for name in ("link", "pause", "pcie", "numa", "crc-errors", "rx-missed")
    } == {"ok"}


LOST = """
import sys
from labkit.errors import LabkitError
from labkit.lab.topology_file import load
from labkit.progress import Silent
from labkit.session.datapaths import enumerate_datapaths
from labkit.session.session import Session
from labkit.session.settings import Settings
from labkit.testers.frames import frame_spec

with Session(Settings(store=False, quick=True), progress=Silent()) as session:
    datapath = next(d for d in enumerate_datapaths([load(sys.argv[1])]) if d.backend.name == "kernel")
    try:
        session.one_trial(datapath, frame_spec("64"), load_pps=1000.0, duration_s=8.0)
    except LabkitError as error:
        print(f"lost: {error.message}", flush=True)
    trial, proof, _ = session.one_trial(datapath, frame_spec("64"), load_pps=1000.0, duration_s=0.2)
    print(f"proven: {proof.proven}, {trial.received > 0}", flush=True)
"""


def test_after_a_lost_connection_the_next_measurement_connects_anew(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(
        [*two.here.enter, sys.executable, "-c", LOST, str(two.topology)], stdout=subprocess.PIPE, text=True
    )
    assert eventually(lambda: running(two, "socket"))
    assert two.alpha.kill("dropbear -i")
    output, _ = process.communicate(timeout=120)
    lost, again = output.splitlines()
    assert lost.startswith("lost: ")
    assert "connection to alpha was lost" in lost
    assert again == "proven: True, True"
    # Offloads of a veth cannot be reverted while the tester's program is still on its other end.
    two.alpha.run("sh", "-c", "labkit down")
    assert (two.here.state(), two.alpha.state()) == before


def test_a_full_disk_there_is_named_before_anything_is_changed(two: TwoHosts) -> None:
    fill = "mount -t tmpfs -o size=8k none {0}; dd if=/dev/zero of={0}/fill bs=4k 2>/dev/null || true"
    two.alpha.run("sh", "-ec", "mkdir -p /var/lib/labkit; " + fill.format("/var/lib/labkit"))
    before = (two.here.state(), two.alpha.state())
    done = two.trial()
    assert done.returncode == 3
    assert (
        "alpha, wire: the journal /var/lib/labkit/journal.jsonl cannot be written: No space left"
        in done.stderr
    )
    assert "free some space in /var/lib/labkit" in done.stderr
    assert (two.here.state(), two.alpha.state()) == before


def test_a_disk_that_can_no_longer_be_written_keeps_nothing_from_being_reverted(two: TwoHosts) -> None:
    two.alpha.run("sh", "-ec", "mkdir -p /var/lib/labkit; mount -t tmpfs none /var/lib/labkit")
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(
        two.argv("trial", "--duration", "3 s", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually(lambda: running(two, "socket") or process.poll() is not None)
    two.alpha.run("mount", "-o", "remount,ro", "/var/lib/labkit")
    output, errors = process.communicate(timeout=RUN_S)
    assert process.returncode == 3, errors
    assert "Read-only file system" in errors
    assert json.loads(output)["trial"]["received"] > 0
    assert (two.here.state(), two.alpha.state()) == before


OUTAGE = LOST.replace(
    "with Session", "machines.ALIVE_EVERY_S, machines.LOST_AFTER_S = 0.5, 14.0\n\nwith Session"
).replace("from labkit.lab.topology_file", "from labkit.lab import machines\nfrom labkit.lab.topology_file")


JUDGED = """
import pytest

@pytest.mark.kernel
def test_first(measure, target):
    target(measure.latency("1 kpps"), p50="<= 10 s")

@pytest.mark.kernel
def test_second(measure, target):
    target(measure.latency("2 kpps"), p50="<= 10 s")
"""


def lost_in_a_run(two: TwoHosts, *arguments: str, then: Callable[[], None]) -> tuple[int, str, dict]:
    """Exit code, output and results of a run in whose first test the connection is lost."""
    (two.folder / "test_judged.py").write_text(JUDGED)
    results = two.folder / "results"
    argv = [*two.here.enter, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v"]
    argv += [f"--rootdir={two.folder}", "--topology", str(two.topology), "--labkit-quick", "--labkit-results"]
    process = subprocess.Popen(
        [*argv, str(results), *arguments, str(two.folder / "test_judged.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=two.folder,
    )
    assert eventually(lambda: running(two, "socket") or process.poll() is not None)
    then()
    assert two.alpha.kill("dropbear -i")
    output, _ = process.communicate(timeout=RUN_S)
    (run,) = [path for path in results.iterdir() if path.is_dir() and not path.is_symlink()]
    return process.returncode, output, json.loads((run / "results.json").read_text())


def test_a_lost_connection_makes_a_test_invalid_and_it_is_repeated(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    code, output, found = lost_in_a_run(
        two, "--labkit-allow-invalid", "--labkit-retry", "10s", then=lambda: None
    )
    assert "INVALID, will be repeated" in output
    assert "the connection was lost" in output
    assert code == 0, output
    verdicts = {v["test"].rpartition("::")[2]: v for v in found["verdicts"]}
    assert set(verdicts) == {"test_first[kernel-two-64]", "test_second[kernel-two-64]"}
    assert not [v for v in verdicts.values() if v["target"] == "can be measured"], verdicts
    assert max(v["attempt"] for v in found["verdicts"]) >= 2
    two.alpha.run("sh", "-c", "labkit down")
    assert (two.here.state(), two.alpha.state()) == before


def test_a_host_that_does_not_come_back_leaves_its_tests_invalid_not_skipped(two: TwoHosts) -> None:
    code, output, found = lost_in_a_run(
        two, "--labkit-retry", "0", then=lambda: (two.folder / "server").rename(two.folder / "gone")
    )
    assert code == 1, output
    assert "2 invalid" in output
    for verdict in found["verdicts"]:
        assert (verdict["target"], verdict["outcome"]) == ("can be measured", "invalid")
        assert verdict["reason"] == "the connection to alpha was lost"
    assert len(found["verdicts"]) == 2
    assert "invalid" in (next((two.folder / "results").glob("*/report.html"))).read_text()


def test_a_host_that_an_agent_of_ours_still_has_after_an_outage_is_waited_for(two: TwoHosts) -> None:
    before = (two.here.state(), two.alpha.state())
    process = subprocess.Popen(
        [*two.here.enter, sys.executable, "-c", OUTAGE, str(two.topology)], stdout=subprocess.PIPE, text=True
    )
    assert eventually(lambda: running(two, "socket"))
    # As if nothing came through: the server there does not learn that the connection has ended.
    servers = [pid for pid, line in two.alpha.processes().items() if "dropbear -i" in line]
    assert servers
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    assert two.here.kill("ControlMaster=yes")
    output, _ = process.communicate(timeout=RUN_S)
    lost, again = output.splitlines()
    assert lost.startswith("lost: ")
    assert again == "proven: True, True"
    two.alpha.run("sh", "-c", "labkit down")
    assert (two.here.state(), two.alpha.state()) == before
