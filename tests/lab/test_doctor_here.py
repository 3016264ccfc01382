"""The doctor at work: what it finds here, and what it says when something is taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import unprivileged

from labkit import doctor
from tests.alive import runs

KERNEL_PATHS = ("namespaces", "kernel", "af_packet", "bpf", "xdp_native", "af_xdp", "memlock", "busy_poll")
DPDK = ("dpdk", "dpdk_memif", "dpdk_vhost", "dpdk_af_packet", "dpdk_af_xdp")
PROGRAM = """
import json, sys
from labkit import doctor
from labkit.doctor import table
print(json.dumps(table.as_json(doctor.run(sys.argv[1:] or None))))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo tox -e lab")


def doctor_in(*ids: str, prefix: tuple[str, ...] = (), **environment: str) -> dict[str, dict[str, object]]:
    """The doctor's findings by id, in a process of its own that `prefix` restricts."""
    command = [sys.executable, "-c", PROGRAM, *ids]
    if prefix:
        command[0] = unprivileged.PYTHON
        command = [*unprivileged.below_mnt(), *prefix, *command]
        environment |= unprivileged.SEEN
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, **environment}
    )
    return {finding["id"]: finding for finding in json.loads(done.stdout)}


def test_kernel_paths_and_dpdk_drivers_are_found_by_doing():
    # "cores" comes last: the EAL must not have left the process pinned to one.
    findings = doctor_in(*KERNEL_PATHS, *DPDK, "cores")

    missing = {name: finding["error"] for name, finding in findings.items() if not finding["ok"]}
    if "NAPI context" in missing.get("busy_poll", ""):
        del missing["busy_poll"]  # so it is on veth from Linux 6.13 on
    assert missing == {}
    assert set(findings) == {*KERNEL_PATHS, *DPDK, "cores"}


def test_veth_has_no_zero_copy_and_the_real_error_is_given():
    finding = doctor_in("af_xdp_zerocopy")["af_xdp_zerocopy"]

    assert not finding["ok"]
    assert "Operation not supported" in str(finding["error"])
    assert finding["required_for"] == []


def test_the_whole_doctor_answers_every_check_and_leaves_nothing():
    before = Path("/proc/self/mountinfo").read_text()
    interfaces = sorted(Path("/sys/class/net").iterdir())

    findings = doctor_in()

    assert list(findings) == [check.id for check in doctor.checks()]
    assert Path("/proc/self/mountinfo").read_text() == before
    assert sorted(Path("/sys/class/net").iterdir()) == interfaces


def test_without_capabilities_it_tries_in_a_user_namespace():
    # setfcap alone: uid 0 may map itself no other way, an ordinary user needs nothing.
    bare = ("setpriv", "--bounding-set", "-all,+setfcap")

    findings = doctor_in("namespaces", "kernel", "af_packet", "bpf", "dpdk_memif", prefix=bare)

    if not findings["namespaces"]["ok"]:
        pytest.skip(f"no user namespaces here: {findings['namespaces']['error']}")
    assert {name for name, finding in findings.items() if finding["ok"]} == {
        "namespaces",
        "kernel",
        "af_packet",
        "dpdk_memif",
    }
    assert "Operation not permitted" in str(findings["bpf"]["error"])
    assert "this root lacks some" in str(findings["bpf"]["fix"])


def test_memlock_limit_that_is_too_low_is_found():
    restricted = ("prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set", "-ipc_lock")

    finding = doctor_in("memlock", prefix=restricted)["memlock"]

    assert not finding["ok"]
    assert "No buffer space available" in str(finding["error"])
    assert "ulimit -l unlimited" in str(finding["fix"])


def test_a_check_that_kills_its_process_costs_only_its_own_answer(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('doctor.child' in word for word in sys.orig_argv):\n"
        "    os.sched_getaffinity = lambda _: os.abort()\n"
    )

    findings = doctor_in("kernel", "cores", "user_namespaces", PYTHONPATH=str(tmp_path))

    assert not findings["cores"]["ok"]
    assert findings["kernel"]["ok"]
    assert findings["user_namespaces"]["ok"]


def test_the_scratch_process_dies_with_the_doctor(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, os, sys, time\n"
        "if any('doctor.child' in word for word in sys.orig_argv):\n"
        "    def affinity(pid):\n"
        f"        pathlib.Path({str(tmp_path / 'new')!r}).write_text(str(os.getpid()))\n"
        f"        os.rename({str(tmp_path / 'new')!r}, {str(tmp_path / 'pid')!r})\n"
        "        time.sleep(60)\n"
        "    os.sched_getaffinity = affinity\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "cores"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child = (tmp_path / "pid").read_text()
    assert runs(child)

    process.kill()
    process.wait()

    deadline = time.monotonic() + 5
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(child)
