"""The probe's build and what its client makes of answers, without root."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from labkit.errors import ConfigInvalid, EnvironmentBroken, LabkitBug, ToolFailed
from labkit.machine.hosts import LocalHost
from labkit.probe import build as probe_build
from labkit.probe.build import SOURCES, build, build_directory, built_executables, engine_path
from labkit.probe.client import Probe
from labkit.testers.answer import trial_from_answer

needs_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("meson", "ninja", "cc", "pkg-config")),
    reason="no C tools: apt-get install gcc meson ninja-build pkg-config",
)

HISTOGRAM = {"n": 9, "min_ns": 5, "max_ns": 7, "mean_ns": 6.0, "hdr": "HISTF", "overflow": 0}
ANSWER = {
    **dict.fromkeys(("tag", "unsent", "stale", "foreign", "corrupt", "late", "duplicates", "reordered", "tx_full"), 1),
    "intended": 11, "sent": 10, "received": 9, "load_pps": 1000.0, "loop": "open", "aborted": False,
    "start_ns": 1_000_000, "tx_end_ns": 10_000_000, "end_ns": 12_000_000, "duration_ns": 11_000_000,
    "drain_ns": 2_000_000, "rtt": HISTOGRAM, "service": HISTOGRAM, "lag": None, "polls": 100, "empty_polls": 75,
    "stall": {"max_ns": 200_000, "total_ns": 300_000}, "involuntary_switches": 2, "voluntary_switches": 0,
    "longest_above": None, "transport": None,
    "cpu_ns": 5,
}  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_PROBE_DIR", str(tmp_path))
    return tmp_path


def write_manifest(missing, sources=None):
    directory = build_directory()
    directory.mkdir(parents=True)
    sources = sources or probe_build.source_hash()
    (directory / "manifest.json").write_text(json.dumps({"sources": sources, "missing": missing}))
    return directory


def test_a_probe_that_is_not_built_says_how_to_build_it(elsewhere):
    with pytest.raises(EnvironmentBroken, match="not built") as caught:
        engine_path("socket")
    assert str(caught.value.hint).endswith("labkit build")
    with pytest.raises(EnvironmentBroken) as caught:
        engine_path("socket", sanitize=True)
    assert str(caught.value.hint).endswith("labkit build --sanitize")
    assert built_executables() == {}


@needs_tools
def test_to_look_builds_nothing(elsewhere):
    output = []

    assert build(look=True, progress=output.append) == build_directory()
    assert output == [f"would be built: {build_directory()}"]
    assert list(elsewhere.iterdir()) == []


def test_an_engine_without_its_library_names_the_package(elsewhere):
    write_manifest({"dpdk": "libdpdk is missing (apt-get install libdpdk-dev)"})
    with pytest.raises(EnvironmentBroken, match="libdpdk is missing") as caught:
        engine_path("dpdk")
    assert caught.value.hint is not None
    assert "apt-get install libdpdk-dev" in caught.value.hint


def test_an_unknown_engine_is_the_callers_mistake(elsewhere):
    with pytest.raises(ConfigInvalid, match="expected one of socket, af_packet"):
        engine_path("warp")


@needs_tools
def test_without_a_compiler_the_hint_installs_one(elsewhere, monkeypatch):
    monkeypatch.setattr(
        probe_build.shutil, "which", lambda name: None if name == "cc" else "/usr/bin/" + name
    )
    with pytest.raises(EnvironmentBroken, match="cc is not installed") as caught:
        build()
    assert caught.value.hint == "apt-get install gcc"


@needs_tools
def test_a_failing_build_leaves_nothing_and_shows_the_compilers_words(elsewhere, tmp_path, monkeypatch):
    sources = tmp_path / "sources"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    (sources / "core" / "error.c").write_text("int broken(void) { return }\n")
    for engine in ("af_xdp", "xdp", "dpdk"):
        (sources / "engines" / f"{engine}.c").unlink()
    monkeypatch.setattr(probe_build, "SOURCES", sources)
    target = tmp_path / "target"
    with pytest.raises(ToolFailed, match=r"error\.c.*error"):
        build(directory=target)
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sources"]


def test_an_answer_becomes_a_trial():
    trial = trial_from_answer(ANSWER, overhead_s=0.01)
    assert (trial.intended, trial.sent, trial.received, trial.unsent, trial.lost) == (11, 10, 9, 1, 1)
    assert trial.duration_s == pytest.approx(0.011)
    assert trial.tx_duration_s == pytest.approx(0.009)
    assert trial.tester_busy == pytest.approx(0.25)
    assert trial.stall_max_s == pytest.approx(200e-6)
    assert trial.rtt is not None
    assert trial.rtt.n == 9
    assert trial.lag is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"received": 11}, "negative loss"),
        ({"unsent": 0}, "unsent is not intended minus sent"),
        ({"stale": -1}, "below zero: stale"),
        ({"received": 8}, "8 frames received, 9 round trips"),
        ({"surplus": 1}, "other fields.*surplus"),
        ({"sent": "10"}, "sent is '10'"),
        ({"sent": True}, "sent is True"),
        ({"aborted": 0}, "aborted is 0"),
        ({"stall": {"max_ns": 1}}, "stall has other fields"),
        ({"rtt": {**HISTOGRAM, "p50": 6}}, "rtt has other fields"),
    ],
)
def test_an_answer_that_does_not_add_up_is_a_bug(change, said):
    with pytest.raises(LabkitBug, match=said):
        trial_from_answer({**ANSWER, **change}, overhead_s=0.0)


def test_a_missing_field_is_a_bug():
    with pytest.raises(LabkitBug, match=r"other fields.*reordered"):
        trial_from_answer({k: v for k, v in ANSWER.items() if k != "reordered"}, overhead_s=0.0)


SPEAKERS = {
    "dies": "import os, signal; print('last words', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
    "ends": "print('goodbye', file=sys.stderr); sys.exit(3)",
    "mumbles": "print('mumble', flush=True)",
    "silent": "sys.stdin.read()",
    "refuses": 'print(\'{"id":1,"ok":false,"error":{"code":"refused","message":"bind: x: why"}}\', flush=True)',
}


@pytest.mark.parametrize(
    ("speaker", "error", "said"),
    [
        ("dies", ToolFailed, r"(?s)killed by SIGSEGV.*last words"),
        ("ends", ToolFailed, r"(?s)exit code 3.*goodbye"),
        ("mumbles", ToolFailed, "JSON"),
        ("silent", ToolFailed, "did not answer the command open"),
        ("refuses", EnvironmentBroken, "bind: x: why"),
    ],
)
def test_a_probe_that_misbehaves_is_reported(elsewhere, monkeypatch, speaker, error, said):
    """Real processes that speak, or fail to speak, in a probe's place."""
    directory = write_manifest({})
    program = directory / "labkit-probe-socket"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.stdin.readline()\n{SPEAKERS[speaker]}\n")
    program.chmod(0o755)
    monkeypatch.setattr("labkit.probe.client.OPEN_TIMEOUT_S", 1.0 if speaker == "silent" else 20.0)
    with pytest.raises(error, match=said):
        Probe("socket", LocalHost(), core=None, ports=[{"bind": "127.0.0.1"}])
