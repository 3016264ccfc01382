"""The host checks on this machine, with faults injected and reverted, in a mount namespace: nothing of it lasts.

What takes a boot (isolated cores, arguments, hugepages) is mounted over /proc and /sys there before.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside

CHECKOUT = Path(__file__).parents[2]
DESIRED = """
cpu_isolation_cpus: "1"
cpu_isolation_watchdogs: keep
cpu_isolation_irq_affinity: false
cpu_isolation_boot_arguments: ["isolcpus=managed_irq,domain,1", nohz_full=1]
hugepages_count: "0"
hugepages_pools: [{size_kib: 2048, count: 16}]
labkit_host_packages: [bash, "coreutils|uutils"]
af_xdp_busy_read_us: "50"
"""
PROC_AND_SYS = {
    "/proc/cmdline": "root=/dev/vda1 quiet isolcpus=managed_irq,domain,1 nohz_full=1",
    "/sys/devices/system/cpu/isolated": "1",
    "/sys/devices/virtual/workqueue/cpumask": "1",
    "/sys/devices/virtual/workqueue/writeback/cpumask": "1",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "16",
    "/proc/sys/vm/stat_interval": "10",
    "/proc/sys/net/core/busy_read": "50",
}
PASSING = {
    "boot.arguments",
    "labkit_host.packages",
    "cpu_isolation.isolated",
    "cpu_isolation.irqbalance",
    "cpu_isolation.workqueues",
    "cpu_isolation.vm_statistics",
    "hugepages.granted",
    "af_xdp.bpffs",
    "af_xdp.busy_poll",
}


def inside(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run it on this machine, made to pass these host checks."""
    (tmp_path / "desired.yml").write_text(DESIRED)
    lines = ["mount -t tmpfs tmpfs /run", "mount -t bpf bpf /sys/fs/bpf"]
    for number, (path, text) in enumerate(PROC_AND_SYS.items()):
        if Path(path).exists():
            (tmp_path / str(number)).write_text(f"{text}\n")
            lines.append(f"mount --bind {tmp_path / str(number)} {path}")
    lines.append(f"exec {shlex.join(command)}")
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "\n".join(lines)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=False,
        timeout=120,
    )


@pytest.fixture(autouse=True)
def _possible():
    for path in ("/sys/fs/bpf", "/sys/devices/system/cpu/isolated", "/var/lib/dpkg/status"):
        if not Path(path).exists():
            pytest.skip(f"this machine has no {path}")


def test_checks_pass_and_a_failure_comes_with_its_tag(tmp_path):
    file = str(tmp_path / "desired.yml")
    done = inside(
        tmp_path,
        sys.executable,
        "-m",
        "labkit.cli",
        "doctor",
        "--host",
        "localhost",
        "--desired",
        file,
        "--json",
    )
    rows = {row["id"]: row for row in json.loads(done.stdout)}

    assert {name for name in PASSING if rows[name]["state"] != "kept"} == set(), done.stdout
    # This kernel was not booted so, and nothing is mounted over the file. (Not RCU: a busy kernel's log loses lines.)
    assert rows["cpu_isolation.nohz_full"]["state"] == "broken"
    assert rows["cpu_isolation.nohz_full"]["closes_it"].endswith("site.yml --tags cpu_isolation")
    assert done.returncode == 3


def test_every_fault_that_this_machine_allows_is_detected_and_reverted(tmp_path):
    file = str(tmp_path / "desired.yml")
    only = f"^({'|'.join(PASSING)})$"
    command = [
        sys.executable,
        "-m",
        "tests.infra.fault_injection",
        "--host",
        "localhost",
        "--desired",
        file,
        "-k",
        only,
    ]

    done = inside(tmp_path, *command)

    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = [line.split()[:2] for line in done.stdout.splitlines()[:-1]]
    assert {verdict for verdict, _ in verdicts} == {"detected"}
    assert {check for _, check in verdicts} == PASSING


def test_failed_check_fails_its_test_and_names_the_fix(tmp_path):
    (tmp_path / "desired.yml").write_text(DESIRED)
    done = inside(
        tmp_path,
        "sh",
        "-c",
        "while umount /sys/fs/bpf 2>/dev/null; do :; done; exec "
        f"{sys.executable} -m pytest {CHECKOUT}/tests/infra -p no:cacheprovider --desired {tmp_path}/desired.yml "
        "-k 'bpffs or isolated or governor'",
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed, 1 skipped" in done.stdout
    assert (
        "FAILED tests/infra/test_host_checks.py::test_host_check[af_xdp.bpffs[localhost]]"
        in done.stdout.replace("../", "")
    )
    assert "found     /sys/fs/bpf not mounted" in done.stdout
    assert "--tags af_xdp" in done.stdout


def test_suite_of_which_no_check_applies_does_not_pass(tmp_path):
    (tmp_path / "desired.yml").write_text(DESIRED)
    suite = f"{sys.executable} -m pytest {CHECKOUT}/tests/infra -p no:cacheprovider --desired {tmp_path}/desired.yml"

    done = inside(tmp_path, *suite.split(), "-k", "governor")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "no check applies" in done.stdout


def test_bad_input_ends_the_suite_before_a_host_is_read(tmp_path):
    (tmp_path / "wrong.yml").write_text("hugepages_cuont: 3\n")
    command = [sys.executable, "-m", "pytest", str(CHECKOUT / "tests/infra"), "-p", "no:cacheprovider"]

    done = subprocess.run(
        [*command, "--desired", str(tmp_path / "wrong.yml")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=60,
    )

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "did you mean hugepages_count?" in done.stdout + done.stderr
    assert "wrong.yml:1" in done.stdout + done.stderr
