"""Labs of two machines: labkit here, tester and DUT reached over SSH, and NICs with a cable between them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from labkit.testers.trex.environment import client_python
from tests import real_trex
from tests.vm import desired, engines
from tests.vm.guest import Guest
from tests.vm.playbook import Playbooks, Provisioned, Say
from tests.vm.wired import STATE, Wired

pytestmark = pytest.mark.long
LINKS = {"virtio": desired.XDP_SLOT, "e1000e": desired.TUNED_SLOT, "vmxnet3": desired.PLAIN_SLOT}
PMDS = {"virtio": "net_virtio", "e1000e": "net_e1000_em", "vmxnet3": "net_vmxnet3"}
SETTINGS = (
    "for option in -g -c -k -a; do ethtool $option {0}; done; cat /proc/sys/net/ipv4/conf/{0}/rp_filter"
)
"""What a NIC loses with its driver."""


@pytest.fixture(scope="module")
def wired(
    tester: Guest,
    dut: Guest,
    playbooks: Playbooks,
    provisioned: Provisioned,
    tmp_path_factory: pytest.TempPathFactory,
    say: Say,
) -> Iterator[Wired]:
    """Both machines with labkit from the role."""
    playbooks.host(tester, desired.TESTER)
    played = playbooks.play("site.yml", "--limit", tester.name, "--tags", "labkit_host")
    say(f"labkit is installed on the tester after {played.took_s:.0f} s")
    assert played.code == 0, played.output[-4000:]
    # In use once: the kernel keeps the queue discipline of an interface that was up.
    for guest, slots in ((tester, desired.SLOTS), (dut, [*LINKS.values(), *desired.LOOPED_SLOTS])):
        for slot in slots:
            guest.run(f"ip link set enp0s{slot} up; sleep 2; ip link set enp0s{slot} down")
    yield Wired(tmp_path_factory.mktemp("wired"), playbooks.inventory, tester, dut)
    for guest in (tester, dut):
        # labkit's own journal, which is empty, is no change of a role's.
        guest.run("rm -f /var/lib/labkit/journal.jsonl; rmdir /var/lib/labkit 2>/dev/null || true")


@pytest.mark.parametrize("backend", ["kernel", "af_packet"])
@pytest.mark.parametrize("link", LINKS)
def test_frames_cross_the_cable_and_come_back(wired: Wired, link: str, backend: str, say: Say):
    before = wired.states()
    lab = wired.topology(link, LINKS[link])

    wired.proven(lab, backend, say)

    assert wired.states() == before


@pytest.mark.parametrize("link", LINKS)
def test_frames_keep_their_vlan_tags_on_a_nic_and_its_offloads_come_back(wired: Wired, link: str, say: Say):
    before = wired.states(), wired.dut.run(f"ethtool -k enp0s{LINKS[link]}").out
    lab = wired.topology(link, LINKS[link], more={"traffic": {"vlans": [100, 200]}})

    wired.proven(lab, "af_packet", say)

    assert (wired.states(), wired.dut.run(f"ethtool -k enp0s{LINKS[link]}").out) == before


def test_the_interface_that_ssh_comes_in_by_is_refused(wired: Wired):
    before = wired.states()
    lab = wired.topology("management", desired.XDP_SLOT, dut={"interface": "enp0s2"})

    done = wired.trial(lab)

    assert done.returncode == 3, done.stderr
    assert "enp0s2 is left alone, because the way to this host needs it" in done.stderr
    assert wired.states() == before


def test_a_cable_that_is_pulled_out_is_named(wired: Wired):
    lab = wired.topology("virtio", desired.XDP_SLOT)
    wired.dut.plug(desired.XDP_SLOT, cable=False)
    try:
        done = wired.trial(lab)
    finally:
        wired.dut.plug(desired.XDP_SLOT, cable=True)

    assert done.returncode == 3, done.stderr
    assert "has no carrier" in done.stderr
    assert "check the cable" in done.stderr


def test_cables_that_are_crossed_are_named(wired: Wired):
    before = wired.states()
    lab = wired.topology("crossed", LINKS["virtio"], LINKS["e1000e"])
    text = yaml.safe_load(lab.read_text())
    first, second = text["links"]
    first["dut"]["interface"], second["dut"]["interface"] = (
        second["dut"]["interface"],
        first["dut"]["interface"],
    )
    lab.write_text(yaml.safe_dump(text))

    done = wired.trial(lab)

    assert done.returncode == 3, done.stderr
    assert "link0" in done.stderr
    assert "cable" in done.stderr
    assert wired.states() == before


def test_a_full_disk_there_is_named_before_anything_is_changed(wired: Wired):
    folder = "/var/lib/labkit"
    wired.dut.run(
        f"mount -t tmpfs -o size=8k none {folder}; dd if=/dev/zero of={folder}/fill bs=4k 2>/dev/null || true"
    )
    try:
        done = wired.trial(wired.topology("virtio", desired.XDP_SLOT))
    finally:
        wired.dut.run(f"umount {folder}")

    assert done.returncode == 3, done.stderr
    assert "cannot be written: No space left" in done.stderr
    assert f"free some space in {folder}" in done.stderr


@pytest.mark.parametrize("link", LINKS)
def test_dpdk_has_the_nic_by_vfio_and_gives_it_back_with_its_settings(wired: Wired, link: str, say: Say):
    name = f"enp0s{LINKS[link]}"
    before, settings = wired.states(), wired.dut.run(SETTINGS.format(name)).out
    lab = wired.topology(link, LINKS[link])

    found = wired.proven(lab, "dpdk", say)

    [port] = found["proof"]["evidence"]["ports"]
    assert port["device"] == f"0000:00:{LINKS[link]:02x}.0"
    assert port["driver"] == PMDS[link]
    assert port["counters"]["rx_packets"] >= found["trial"]["received"]
    assert wired.states() == before
    assert wired.dut.run(SETTINGS.format(name)).out == settings


@pytest.mark.parametrize("backend", ["af_packet", "dpdk"])
def test_dpdk_is_the_tester_on_a_nic_and_gives_it_back(wired: Wired, backend: str, say: Say):
    before = wired.states()
    lab = wired.looped()

    found = wired.proven(lab, backend, say, "--tester", "dpdk")

    assert found["tester"]["engine"] == "dpdk"
    [port] = found["tester"]["proof"]["ports"]
    assert port["device"] == f"0000:00:{desired.LOOPED_SLOTS[0]:02x}.0"
    assert port["counters"]["tx_packets"] >= found["trial"]["sent"]
    assert wired.states() == before


@pytest.fixture(scope="module")
def trex(
    wired: Wired,
    playbooks: Playbooks,
    trex_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
    say: Say,
) -> Iterator[real_trex.Archive]:
    """A real server on the DUT, which the role has installed and not started."""
    archive = real_trex.packed(trex_directory, tmp_path_factory.mktemp("trex"))
    wanted = {
        "trex_version": archive.version,
        "trex_sha256": archive.sha256,
        "trex_archive": str(archive.file),
    }
    limited = ("--limit", wired.dut.name, "--tags", "trex")

    def play(**variables: str) -> None:
        words = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
        played = playbooks.play("site.yml", *limited, *words)
        say(f"the role trex took {played.took_s:.0f} s")
        assert played.code == 0, played.output[-4000:]

    play(**wanted)
    tried = wired.dut.run("cd /opt/trex/current && ./_t-rex-64 --help", check=False)
    if tried.code in (4, 132):  # SIGILL
        play(trex_version="")
        pytest.skip("this server is built for a CPU that the guest has not")
    # The guest reaches no package index, from which labkit would install the client there. Host and guest are of the
    # same Debian, and it is kept under a name of its Python.
    made = Path(client_python()).parents[1]
    packed = subprocess.run(
        ["tar", "-C", str(made.parent), "-cz", made.name], stdout=subprocess.PIPE, check=True
    )
    cache = "/home/lab/.cache/labkit"
    wired.dut.put(
        packed.stdout,
        f"mkdir -p {cache}/trex-client && tar -xzC {cache}/trex-client && chown -R lab: {cache}",
    )
    yield archive
    wired.dut.run(f"rm -r {cache}/trex-client; rmdir -p --ignore-fail-on-non-empty {cache}")
    play(trex_version="")


@pytest.mark.trex
@pytest.mark.parametrize("backend", ["af_packet", "dpdk"])
def test_a_real_trex_drives_a_nic_by_dpdk_and_gives_it_back(
    wired: Wired, trex: real_trex.Archive, backend: str, say: Say
):
    before = wired.states()
    lab = wired.looped()

    found = wired.proven(lab, backend, say, "--tester", "trex")

    assert found["tester"]["engine"] == "trex"
    assert found["tester"]["version"] == trex.version
    assert found["tester"]["proof"]["ports"][0]["driver"] == "net_virtio"
    assert "packet sockets" not in found["tester"]["engine_note"]
    assert found["trial"]["received"] == found["trial"]["sent"]
    assert wired.states() == before


@pytest.mark.parametrize("backend", ["kernel", "dpdk"])
def test_a_nic_that_the_role_has_bound_is_used_and_bound_again(wired: Wired, backend: str, say: Say):
    before = wired.states()
    pci = desired.FORWARDING_PCI
    bound = f"basename $(readlink /sys/bus/pci/devices/{pci}/driver); cat /sys/bus/pci/devices/{pci}/driver_override"
    assert wired.dut.run(bound).out.split() == ["vfio-pci", "vfio-pci"]
    lab = wired.topology("bound", desired.FORWARDING_SLOT, dut={"pci": pci})

    wired.proven(lab, backend, say)

    assert wired.dut.run(bound).out.split() == ["vfio-pci", "vfio-pci"]
    assert wired.states() == before


def test_a_nic_that_dpdk_had_is_given_back_by_down_after_its_agent_was_killed(wired: Wired, say: Say):
    before = wired.states()
    pci = f"0000:00:{desired.XDP_SLOT:02x}.0"
    driver = f"basename $(readlink /sys/bus/pci/devices/{pci}/driver)"
    process = wired.long_trial(wired.topology("virtio", desired.XDP_SLOT), "dpdk", "labkit-probe-dp")
    try:
        assert wired.dut.run(driver).out.strip() == "vfio-pci"
        wired.dut.run("pkill -KILL -f '[l]abkit.* agent'")
    finally:
        process.kill()
        process.wait()
    assert wired.dut.run(driver).out.strip() == "vfio-pci"
    assert wired.eventually(lambda: wired.dut.run("pgrep labkit-probe", check=False).code != 0)

    down = wired.dut.run("labkit down")

    say(f"labkit down there: {down.out}{down.err}")
    assert f"driver of {pci}: vfio-pci -> virtio-pci" in down.out
    assert wired.eventually(lambda: wired.states() == before)


@pytest.mark.parametrize("backend", ["xdp", "af_xdp"])
def test_xdp_has_the_nic_by_its_driver(wired: Wired, backend: str, say: Say):
    before = wired.states()
    engines.put(wired.dut, wired.folder)
    lab = wired.topology("virtio", desired.XDP_SLOT)

    wired.proven(lab, backend, say)

    assert wired.states() == before


def test_every_datapath_is_measured_over_emulated_nics(wired: Wired, say: Say):
    before = wired.states()
    engines.put(wired.dut, wired.folder)
    results = wired.folder / "results"
    lab = wired.topology("virtio", desired.XDP_SLOT)

    done = subprocess.run(
        wired.argv("run", "--quick", "--allow-invalid", "--topology", str(lab), "--results", str(results)),
        capture_output=True,
        text=True,
        check=False,
        timeout=3000 * wired.dut.slower,
    )

    say(done.stdout)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: a target was missed, on an emulated CPU
    [run] = {path.resolve() for path in results.iterdir() if path.is_dir()}
    found = json.loads((run / "results.json").read_text())
    proven = {
        (one["key"]["backend"], one["key"]["mode"]) for one in found["measurements"] if one["proof"]["proven"]
    }
    assert {("kernel", ""), ("af_packet", ""), ("xdp", ""), ("af_xdp", ""), ("dpdk", "")} <= proven
    assert set(found["environment"]["hosts"]) == {"tester", "dut"}
    page = (run / "report.html").read_text()
    assert "<b>Emulated links.</b>" in page
    assert wired.states() == before


def test_a_controller_that_is_killed_leaves_nothing_on_either_machine(wired: Wired):
    before = wired.states()
    process = wired.long_trial(wired.topology("virtio", desired.XDP_SLOT), "kernel", "labkit-probe-so")
    assert wired.states() != before
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert wired.eventually(lambda: wired.states() == before)


def test_a_jump_of_the_wall_clock_there_disturbs_nothing(wired: Wired):
    before = wired.states()
    lab = wired.topology("virtio", desired.XDP_SLOT)
    argv = wired.argv("trial", "--topology", str(lab), "--backend", "kernel", "--load", "200 pps")
    process = subprocess.Popen(
        [*argv, "--duration", "10 s", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert wired.eventually(lambda: wired.dut.run("pgrep -x labkit-probe-so", check=False).code == 0)
    for guest in (wired.dut, wired.tester):
        guest.run("date -s '+3 hours'")
    try:
        output, errors = process.communicate(timeout=300 * wired.dut.slower)
    finally:
        for guest in (wired.dut, wired.tester):
            guest.run("date -s '-3 hours'")

    assert process.returncode == 0, errors
    trial = json.loads(output)["trial"]
    assert trial["received"] > 0.5 * trial["sent"] > 0, trial
    assert 9 < trial["tx_duration_s"] < 20, trial
    assert wired.states() == before


def lost(wired: Wired, cut: str) -> str:
    """What a trial says during which this is done on the DUT. It ends then, long before its time is over."""
    process = wired.long_trial(wired.topology("virtio", desired.XDP_SLOT), "kernel", "labkit-probe-so")
    wired.dut.run(f"systemd-run --no-block --collect sh -c {shlex.quote(cut)}")
    _, errors = process.communicate(timeout=120 * wired.dut.slower)
    assert process.returncode == 4, errors
    return errors


def test_an_ssh_server_that_is_stopped_in_a_trial_is_named_and_nothing_stays(wired: Wired):
    before = wired.states()

    errors = lost(wired, "systemctl stop ssh.socket ssh; pkill -f '^sshd: lab'; sleep 5; systemctl start ssh")

    wired.dut.wait()
    assert "the connection to dut was lost" in errors, errors
    assert wired.eventually(lambda: wired.states() == before)


def test_a_host_that_reboots_in_a_trial_is_named_and_has_nothing_to_revert(wired: Wired):
    left = "ls -d /run/labkit* 2>/dev/null; cat /var/lib/labkit/journal.jsonl 2>/dev/null"
    before, boot = wired.tester.run(STATE).out, wired.dut.wait()
    left_before = wired.dut.run(left, check=False).out

    errors = lost(wired, "reboot --force")

    wired.dut.wait(other_than=boot)
    assert "the connection to dut was lost" in errors, errors
    wired.dut.run("labkit down")
    assert wired.dut.run(left, check=False).out == left_before
    assert wired.eventually(lambda: wired.tester.run(STATE).out == before)
