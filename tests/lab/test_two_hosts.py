"""A lab of two hosts: tester here, DUT reached by SSH, with real interfaces at both ends of a cable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.ssh_host import TwoHosts
from tests.lab.two_hosts import NEEDS_SSH_SERVER, RUN_S, eventually, running

pytestmark = [pytest.mark.beside, NEEDS_SSH_SERVER]


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
    assert set(found) == {
        *("kernel", "kernel tcp", "kernel tcp_stream", "kernel tcp_busy_poll"),
        *("af_packet", "xdp", "af_xdp", "af_xdp busy_poll"),
    }
    assert "lacking" not in found["kernel"], found
    assert "busy polling 50 us" in found["kernel tcp_busy_poll"]["claim"]
    for name, one in found.items():
        if "lacking" not in one:
            assert one["proven"], (name, one)
            assert one["received"] > 0.5 * one["sent"] > 0, (name, one)
    assert (two.here.state(), two.alpha.state()) == before
    assert not two.alpha.processes()


@pytest.mark.parametrize("backend", ["af_packet", "xdp"])
def test_frames_with_vlan_tags_come_back_with_them(two: TwoHosts, backend: str) -> None:
    lab = json.loads(two.topology.read_text())
    two.topology.write_text(json.dumps({**lab, "traffic": {"vlans": [100, 200]}}))
    before = (two.here.state(), two.alpha.state())
    done = two.trial("--json", "--backend", backend, "--load", "1 kpps", "--duration", "200 ms")
    assert done.returncode == 0, done.stderr
    trial = json.loads(done.stdout)["trial"]
    assert trial["corrupt"] == 0
    assert trial["received"] > 100
    assert (two.here.state(), two.alpha.state()) == before


def test_an_interface_whose_ipv6_is_switched_off_has_it_for_the_time_of_a_lab(two: TwoHosts) -> None:
    setting = "/proc/sys/net/ipv6/conf/nic0/disable_ipv6"
    two.alpha.run("sh", "-c", f"echo 1 > {setting}")
    before = (two.here.state(), two.alpha.state())
    done = two.trial("--ipv6", "--frame", "84", "--json", "--duration", "200 ms")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trial"]["received"] > 0
    assert (two.here.state(), two.alpha.state()) == before
    assert two.alpha.run("cat", setting).strip() == "1"


def test_a_host_is_reached_as_ansibles_inventory_says(two: TwoHosts) -> None:
    two.write_inventory()
    two.write_topology(dut="beta")
    done = two.trial("--json", "--duration", "200 ms", "--inventory", str(two.inventory))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proof"]["proven"]


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
