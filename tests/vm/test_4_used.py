"""The host does what it was made ready for: packets through DPDK on vfio-pci, native AF_XDP, wake-ups measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.vm import desired
from tests.vm.guest import Guest
from tests.vm.labkit_there import measured
from tests.vm.playbook import Playbooks, Provisioned, Say, Stock

FRAMES = 1000
SCRIPT = Path(__file__).with_name("frames.py").read_text()


@contextmanager
def reflecting(dut: Guest, eal: str) -> Iterator[None]:
    """testpmd on the DUT, sending back what it gets with the addresses swapped; ended with the block."""
    options = "--in-memory --single-file-segments --file-prefix=labkit-vm"
    command = (
        f"sleep {600 * dut.slower:.0f} | timeout -k 10 {120 * dut.slower:.0f} "
        f"dpdk-testpmd -l 0,{desired.ISOLATED} {options} {eal} "
        "-- --forward-mode=macswap --auto-start --no-lsc-interrupt --total-num-mbufs=4096"
    )
    process = subprocess.Popen(
        dut.argv(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        for line in process.stdout:
            printed.append(line)
            if "Press enter to exit" in line or "macswap packet forwarding" in line:
                break
        else:
            raise AssertionError(f"testpmd ended: {''.join(printed)}")
        time.sleep(3)
        yield
    finally:
        dut.run("pkill -INT -x dpdk-testpmd", check=False)
        process.kill()
        process.wait()


def exchange(tester: Guest, slot: int, count: int = FRAMES) -> dict[str, int]:
    """Send frames from the tester to the DUT's interface of that slot, and count what comes back."""
    name = f"enp0s{slot}"
    tester.run(f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1; ip link set {name} up; sleep 1")
    own, peer = f"52:54:00:00:02:{slot:02x}", f"52:54:00:00:01:{slot:02x}"
    done = tester.run(f"python3 - {name} {own} {peer} {count}", stdin=SCRIPT)
    counted: dict[str, int] = json.loads(done.out)
    return counted


def test_dpdk_forwards_real_packets_on_vfio_pci(
    dut: Guest, tester: Guest, provisioned: Provisioned, say: Say
):
    bound = dut.run(f"basename $(readlink /sys/bus/pci/devices/{desired.FORWARDING_PCI}/driver)").out.strip()
    assert bound == "vfio-pci"

    with reflecting(dut, f"-a {desired.FORWARDING_PCI}"):
        counted = exchange(tester, desired.FORWARDING_SLOT)
    say(f"DPDK on vfio-pci: {counted}")

    assert counted["returned"] == FRAMES, counted
    assert counted["duplicates"] == 0
    # A few only: with nobody there they fill the link.
    assert exchange(tester, desired.FORWARDING_SLOT, 10)["returned"] == 0, "something else sends them back"


def test_af_xdp_runs_native_on_a_guest_nic(dut: Guest, tester: Guest, provisioned: Provisioned, say: Say):
    dut.run(f"ip link set {desired.XDP_NAME} up")

    with reflecting(dut, f"--no-pci --vdev=net_af_xdp0,iface={desired.XDP_NAME}"):
        counted = exchange(tester, desired.XDP_SLOT)
        [link] = json.loads(dut.run(f"ip -json -details link show {desired.XDP_NAME}").out)
    say(f"AF_XDP: {counted}, attached {link.get('xdp')}")

    assert link["xdp"]["mode"] == 1, f"expected native (1), attached as {link['xdp']}"
    assert counted["returned"] == FRAMES, counted


@pytest.fixture(scope="module")
def rt_run(dut: Guest, provisioned: Provisioned, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Path:
    """Measured on the real-time kernel."""
    return measured(dut, tmp_path_factory.mktemp("rt"), say)


@pytest.fixture(scope="module")
def generic_run(
    dut: Guest,
    rt_run: Path,
    stock: Stock,
    playbooks: Playbooks,
    tmp_path_factory: pytest.TempPathFactory,
    say: Say,
) -> Path:
    """Measured on the kernel that the machine came with, all else as it was: a host that changed its mind."""
    playbooks.host(
        dut,
        {**desired.DUT, "lowlatency_kernel_flavour": "generic", "lowlatency_kernel_release": stock.release},
    )
    played = playbooks.play("site.yml", "--tags", "boot")
    say(f"back on the generic kernel after {played.took_s:.0f} s")
    assert played.code == 0, played.output[-4000:]
    assert dut.run("uname -r").out.strip() == stock.release
    assert dut.run("cat /sys/devices/system/cpu/isolated").out.strip() == str(desired.ISOLATED)
    return measured(dut, tmp_path_factory.mktemp("generic"), say)


def values(run: Path) -> dict[str, dict[str, Any]]:
    """What a run measured, by kind."""
    document = json.loads((run / "results.json").read_text())
    return {one["kind"]: one for one in document["measurements"]}


@pytest.mark.long
def test_the_host_is_measured_with_the_kernels_own_tracers_and_over_udp(rt_run: Path):
    """Steps: run -m lowlatency --slow on it. Verify: every tool has measured, and frames went through the kernel."""
    found = values(rt_run)

    host, path = {"hardware", "wakeup", "timerlat", "busy_loop"}, {"mrr", "throughput", "latency"}
    assert set(found) == host | path
    assert found["wakeup"]["wakeup"]["cores"][0]["core"] == desired.ISOLATED, "not on the isolated core"
    assert found["timerlat"]["timerlat"]["cores"][0]["counted"] > 0
    assert found["latency"]["latency"]["points"], "no frame came back"


@pytest.mark.long
def test_wakeups_of_both_boots_are_compared(generic_run: Path, rt_run: Path, say: Say):
    """Function alone: what an emulated CPU does says nothing of a real one, and labkit says that."""
    compared = subprocess.run(
        [sys.executable, "-m", "labkit.cli", "compare", "--all", str(generic_run), str(rt_run)],
        capture_output=True,
        text=True,
        check=False,
    )
    say(compared.stdout)

    printed = " ".join(compared.stdout.split())
    # 1: both were measured, and neither is worth a comparison. On an emulated CPU that may be so.
    assert compared.returncode in (0, 1), compared.stdout + compared.stderr
    assert "PREEMPT_DYNAMIC" in printed
    assert "PREEMPT_RT" in printed
    assert re.search(r"wake-up p50 \d\S* .?s \d", printed), "wake-ups of both boots stand beside each other"
    assert "not about throughput" in printed
