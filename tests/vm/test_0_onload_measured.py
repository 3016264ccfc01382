"""Sockets under a real Onload, measured over a cable from another guest, beside the kernel's, and what is no figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import real_onload
from tests.vm import desired, image
from tests.vm.guest import Guest, Nic, link
from tests.vm.playbook import Playbooks, Say
from tests.vm.wired import Wired

pytestmark = [pytest.mark.long, pytest.mark.onload]
SLOT, OTHER_SLOT = 0x10, 0x11
"""Of the NIC that is registered with Onload, and of one that is not."""
MODES = {"": "udp", "tcp": "tcp", "tcp_stream": "tcp"}
ROUNDS = 3
HOLDER = """
import socket, time
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held.bind(("0.0.0.0", 5001))
time.sleep(600)
"""


@pytest.fixture(scope="module")
def measured(
    onload_source: Path,
    stock_image: image.Image,
    playbooks: Playbooks,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    say: Say,
) -> Iterator[Wired]:
    """Two machines with labkit, one of them with Onload on one of its two NICs."""
    pairs = {slot: link() for slot in (SLOT, OTHER_SLOT)}

    def nics(end: int) -> list[Nic]:
        return [
            Nic("virtio-net-pci", f"52:54:00:00:0{5 + end}:{slot:02x}", slot, ends[end])
            for slot, ends in pairs.items()
        ]

    try:
        with (
            Guest(
                "onload-dut",
                stock_image,
                nics=nics(0),
                cpus=2,
                memory_mib=2048,
                log=folder / "onload-dut.console",
            ) as dut,
            Guest(
                "onload-tester",
                stock_image,
                nics=nics(1),
                cpus=1,
                memory_mib=768,
                log=folder / "onload-tester.console",
            ) as tester,
        ):
            dut.wait()
            tester.wait()
            archive = real_onload.built(onload_source, dut.run("uname -r").out.strip(), image.cache())
            playbooks.host(
                dut,
                {
                    **desired.TESTER,
                    "openonload_version": archive.version,
                    "openonload_sha256": archive.sha256,
                    "openonload_archive": str(archive.file),
                    "openonload_interfaces": [{"name": f"enp0s{SLOT}"}],
                    "openonload_allow_unsupported_cpu": True,
                },
            )
            playbooks.host(tester, desired.TESTER)
            played = playbooks.play(
                "site.yml", "--limit", f"{dut.name},{tester.name}", "--tags", "labkit_host,openonload"
            )
            say(f"labkit and Onload {archive.version} are installed after {played.took_s:.0f} s")
            assert played.code == 0, played.output[-4000:]
            found = Wired(tmp_path_factory.mktemp("onload"), playbooks.inventory, tester, dut)
            found.backends = ("kernel", "onload")
            yield found
    finally:
        for ends in pairs.values():
            for end in ends:
                end.close()


def tried(wired: Wired, lab: Path, *arguments: str) -> dict[str, Any]:
    """What a trial printed as JSON."""
    load = ("--load", "200 pps", "--duration", "2 s", "--json")
    done = wired.trial(lab, *load, *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_sockets_under_onload_are_measured_and_proven(measured: Wired, mode: str, say: Say):
    before = measured.states()

    found = measured.proven(measured.topology("onload", SLOT), "onload", say, "--mode", mode)

    assert found["proof"]["evidence"]["onload"]["sockets"][MODES[mode]] >= 1
    assert found["proof"]["evidence"]["profile"] == "latency"
    assert measured.states() == before


@pytest.mark.parametrize("mode", ["", "tcp"])
def test_round_trips_are_seen_beside_the_kernels_in_turn(measured: Wired, mode: str, say: Say):
    """On an emulated CPU the figures are of no use to anybody; that both are measured in turn is."""
    lab = measured.topology("onload", SLOT)
    p50_us: dict[str, list[float]] = {"kernel": [], "onload": []}
    for _ in range(ROUNDS):
        for backend, found in p50_us.items():
            trial = tried(measured, lab, "--backend", backend, "--mode", mode)
            assert trial["proof"]["proven"], trial["proof"]["claim"]
            found.append(trial["rtt"]["p50_us"])
    say(f"p50 of the round trips, us, {mode or 'udp'}: {p50_us}")


def test_what_onload_hands_over_to_the_kernel_is_no_figure_of_onload(measured: Wired):
    environment = {"EF_UDP_PORT_HANDOVER_MIN": "7", "EF_UDP_PORT_HANDOVER_MAX": "7"}
    lab = measured.topology("handed", SLOT, more={"onload": {"environment": environment}})

    done = measured.trial(lab, "--backend", "onload", "--load", "200 pps", "--json")

    if done.returncode == 0:
        proof = json.loads(done.stdout)["proof"]
        assert not proof["proven"], proof
        assert "kernel" in proof["claim"]
    else:
        assert "dut (labkit-probe-socket)" in done.stderr


def test_a_nic_that_is_not_registered_is_named_with_the_fix(measured: Wired):
    done = measured.trial(measured.topology("unregistered", OTHER_SLOT), "--backend", "onload")

    assert done.returncode == 3, done.stderr
    assert f"enp0s{OTHER_SLOT} is not registered with Onload by the role openonload" in done.stderr
    assert "openonload_interfaces" in done.stderr


def test_a_stack_of_others_is_named_before_anything_is_measured(measured: Wired):
    measured.dut.run("cat >/run/holder.py", stdin=HOLDER)
    measured.dut.run(
        "systemd-run --unit=holder --collect --setenv=EF_NO_FAIL=0 onload -p latency python3 /run/holder.py"
    )
    try:
        assert measured.eventually(
            lambda: bool(measured.dut.run("cat /proc/driver/onload/stacks").out.strip())
        )
        done = measured.trial(measured.topology("onload", SLOT), "--backend", "onload")
    finally:
        measured.dut.run("systemctl stop holder")

    assert done.returncode == 3, done.stderr
    assert "1 stacks of Onload's on onload-dut" in done.stderr


def test_a_program_of_ones_own_runs_under_onload_and_is_proven(measured: Wired, say: Say):
    echo = Path(__file__).parents[2] / "examples" / "echo_udp.py"
    measured.dut.put(echo.read_bytes(), "cat >/opt/echo_udp.py")
    lab = measured.topology(
        "own",
        SLOT,
        more={
            "backends": ["kernel", "command"],
            "commands": {"echo": {"argv": ["python3", "/opt/echo_udp.py"], "onload": True}},
        },
    )

    found = measured.proven(lab, "command", say)

    assert found["proof"]["evidence"]["sockets"] == {"udp": 1}


def test_modules_that_are_not_loaded_are_named_with_the_fix(measured: Wired):
    measured.dut.run("onload_tool unload --onload-only")

    done = measured.trial(measured.topology("onload", SLOT), "--backend", "onload")

    assert done.returncode == 3, done.stderr
    assert "the kernel module onload is not loaded" in done.stderr
