"""The doctor, as far as it needs neither namespaces nor root."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

import pytest

from labkit import doctor
from labkit.backends import registry
from labkit.doctor import lowlatency, machine, sockets, table
from labkit.doctor.model import Unavailable
from labkit.errors import LabkitBug
from labkit.lab import topology_file
from labkit.machine import cores

BROKEN = doctor.Finding(
    id="bpf",
    title="BPF programs",
    ok=False,
    required_for=("xdp", "af_xdp"),
    detail="",
    error="bpf(BPF_PROG_LOAD, XDP): Operation not permitted",
    fix="sudo /opt/bin/labkit doctor",
)
WHOLE = doctor.Finding(
    id="kernel",
    title="kernel UDP sockets",
    ok=True,
    required_for=("kernel",),
    detail="a UDP datagram came back",
    error=None,
    fix=None,
)


def test_every_prerequisite_that_a_backend_names_is_a_check():
    known = {check.id for check in doctor.checks()}
    named = {
        (backend, check)
        for backend in registry.names()
        for shipped in topology_file.names()
        for mode in registry.load(backend).modes(topology_file.load(shipped))
        for check in mode.requires
    }

    assert named
    assert {pair for pair in named if pair[1] not in known} == set()


def test_unknown_check_is_a_bug_that_names_those_there_are():
    with pytest.raises(LabkitBug, match=r"no such check: warp_drive; there are .*namespaces"):
        doctor.run(["warp_drive"])


def test_one_core_is_too_few(monkeypatch):
    monkeypatch.setattr(cores, "isolated", set)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        with pytest.raises(Unavailable, match=f"only core {min(before)} may be used"):
            machine.cores()
    finally:
        os.sched_setaffinity(0, before)


def test_isolated_core_counts_as_one_that_may_be_used(monkeypatch):
    before = os.sched_getaffinity(0)
    monkeypatch.setattr(cores, "isolated", lambda: {max(before)})
    try:
        os.sched_setaffinity(0, before - {max(before)} or before)
        assert machine.cores() == f"{len(before)} cores may be used"
    finally:
        os.sched_setaffinity(0, before)


def test_missing_python_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)

    with pytest.raises(Unavailable, match=r"import hdrh\.histogram"):
        machine.python_packages()


def test_missing_benchmark_tool_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(Unavailable, match="dpdk-testpmd: not found"):
        machine.benchmark_tools()


def test_too_few_hugepages_give_the_kernels_error_and_the_free_count(monkeypatch):
    if not machine.HUGEPAGE_POOL.exists():
        pytest.skip("this kernel has no hugepages of 2 MB")
    monkeypatch.setattr(machine, "HUGEPAGES_MINIMUM", 1 << 24)

    with pytest.raises(
        Unavailable, match=r"mmap\(MAP_HUGETLB, 16777216 pages of 2 MB\): .*; \d+ of \d+ are free"
    ):
        machine.hugepages()


def test_table_gives_the_real_error_its_fix_and_the_backends_that_lack_it(capsys):
    table.print_table([WHOLE, BROKEN])

    printed = " ".join(capsys.readouterr().out.split())
    assert "bpf(BPF_PROG_LOAD, XDP): Operation not permitted fix: sudo /opt/bin/labkit doctor" in printed
    assert "missing: a datapath needs it and cannot run without it" in printed
    assert "no datapath requires it" not in printed
    assert "kernel can run" in printed
    assert "xdp lacks bpf" in printed


def test_a_reason_that_repeats_is_printed_once(capsys):
    table.print_table(
        [BROKEN, replace(BROKEN, id="xdp_native"), replace(BROKEN, id="memlock", fix="another")]
    )

    lines = capsys.readouterr().out.splitlines()
    assert (
        sum("Operation not permitted" in line for line in lines) == 2
    )  # another fix makes it another reason
    assert "missing  xdp_native  for the same reason as bpf" in lines


def test_no_is_explained_where_it_is_in_the_table(capsys):
    table.print_table([WHOLE, replace(BROKEN, required_for=())])

    out = capsys.readouterr().out
    assert "\nno: not available, and no datapath requires it" in out
    assert "missing" not in out


def test_off_a_terminal_nothing_is_cut_or_wrapped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    table.print_table([replace(BROKEN, error="e" * 300, fix="f" * 300)])

    out = capsys.readouterr().out
    assert "e" * 300 in out
    assert f"fix: {'f' * 300}" in out


def test_json_holds_every_field_of_a_finding():
    (found,) = json.loads(json.dumps(table.as_json([BROKEN])))

    assert found == {
        "id": "bpf",
        "title": "BPF programs",
        "ok": False,
        "required_for": ["xdp", "af_xdp"],
        "detail": "",
        "error": "bpf(BPF_PROG_LOAD, XDP): Operation not permitted",
        "fix": "sudo /opt/bin/labkit doctor",
    }


@pytest.mark.parametrize("there", [True, False])
def test_hwlatdetect_needs_debugfs_where_it_looks_for_tracing(tmp_path, monkeypatch, there):
    mounts = tmp_path / "mounts"
    mounts.write_text("sysfs /sys sysfs rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0\n")
    if there:
        mounts.write_text(mounts.read_text() + "none /sys/kernel/debug debugfs rw 0 0\n")
    monkeypatch.setattr(lowlatency, "_MOUNTS", mounts)
    monkeypatch.setattr(lowlatency, "_binary", lambda name, package: name)
    monkeypatch.setattr(lowlatency, "_tracer", lambda name, config: None)
    if there:
        assert "are available" in lowlatency.hwlat()
    else:
        with pytest.raises(Unavailable, match="no debugfs on /sys/kernel/debug"):
            lowlatency.hwlat()


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.12.74+deb13+1-amd64", (6, 12)), ("6.13-rc3", (6, 13)), ("6.13-lab²", (6, 13)), ("6", (0, 0))],
)
def test_version_of_the_kernel_is_read_from_its_release(
    release: str, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = os.uname_result(("Linux", "lab", release, "#1", "x86_64"))
    monkeypatch.setattr(sockets.os, "uname", lambda: system)
    assert sockets.kernel() == version
