"""Wrong input at the command line: it is said what was expected and what to do, exit code 2, nothing changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sample_run import sample_run

from labkit.record.codec import encode

GOOD = """\
description: a lab
backends: [kernel]
cores: {tester: 0, dut: 1}
links:
  - name: veth0
    kind: veth
    mtu: 1500 B
    tester:
      name: tester0
      mac: 02:00:00:00:00:01
      ipv4: 198.18.0.1/24
    dut:
      name: dut0
      mac: 02:00:00:00:00:02
      ipv4: 198.18.0.2/24
"""
DUT = GOOD[GOOD.index("    dut:") :]
WRONG = {
    "unknown key": ("    mtu:", "    mut:", 7, "did you mean 'mtu'?"),
    "missing port": (DUT, "", 5, "missing key 'dut'"),
    "cores that overlap": ("dut: 1}", "dut: 0}", 3, "leave cores out"),
    "a core that does not exist": ("tester: 0,", "tester: 9999,", 3, "leave cores out"),
    "bad unit": ("1500 B", "1500 Mpps", 7, "units 'B'"),
    "MTU out of range": ("1500 B", "1 MiB", 7, "from 68 B to 9202 B"),
    "address clash": ("198.18.0.2/24", "198.18.0.1/24", 15, "already used by links[0].tester.ipv4 (line 11)"),
    "unknown backend": ("[kernel]", "[kernal]", 2, "did you mean 'kernel'?"),
    "no YAML": ("description: a lab", "description: [", 3, "expected YAML"),
}
MODULES = {"labkit": "labkit.cli", "pytest": "pytest"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def call(program: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", MODULES[program], *arguments],
        cwd=cwd,
        env={**os.environ, "LABKIT_STATE_DIR": str(cwd.parent / "state"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *says: str, code: int = 2) -> None:
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    for words in says:
        assert words in " ".join(output.split()), output
    assert "Traceback" not in output


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("what", "verb"),
    [
        *((what, "up") for what in WRONG),
        *(("a core that does not exist", verb) for verb in ("trial", "run")),
        *(("unknown key", verb) for verb in ("trial", "run")),
    ],
)
def test_a_wrong_lab_file_is_reported_with_its_line_and_nothing_is_changed(
    what: str, verb: str, folder: Path
) -> None:
    old, new, line, says = WRONG[what]
    assert old in GOOD
    lab_file = write(folder.parent / "lab.yml", GOOD.replace(old, new, 1))
    refused(
        call("labkit", verb, "--topology", str(lab_file), cwd=folder),
        f"labkit: bad input: {lab_file}:{line}: ",
        says,
    )
    assert list(folder.iterdir()) == []
    assert not (folder.parent / "state").exists()


def test_pytest_refuses_a_wrong_lab_file_before_it_collects(folder: Path) -> None:
    lab_file = write(folder.parent / "lab.yml", GOOD.replace("    mtu:", "    mut:"))
    done = call("pytest", "-p", "no:cacheprovider", f"--topology={lab_file}", cwd=folder)
    refused(done, f"{lab_file}:7: ", "did you mean 'mtu'?", code=4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--frame", "63"], ["63", "expected 64 to"]),
        (["--frame", "99999"], ["99999", "expected 64 to"]),
        (["--frame", "1519"], ["1519", "at most 1518 bytes with FCS on link veth0", "mtu: 1501 B"]),
        (["--frame", "9000"], ["9000", "at most 1518 bytes", "mtu: 8982 B"]),
        (["--frame", "83", "--ipv6"], ["83", "expected 84 to"]),
        (["--frame", "64.5"], ["64.5", "imix"]),
        (["--ipv6", "--frame", "84"], ["link veth0 has no IPv6 addresses", "ipv6 address"]),
        (["--flows", "0"], ["0 flows", "expected 1 to 32768"]),
        (["--flows", "many"], ["--flows", "invalid int value"]),
        (["--load", "10"], ["'10'", "'100 kpps' or 'max'"]),
        (["--load", "0 pps"], ["--load 0 pps", "one frame or more"]),
        (["--load", "10 pps", "--duration", "10 ms"], ["--load 10 pps", "one frame or more in 0.01 s"]),
        (["--load", "2 Gpps"], ["--load 2 Gpps", "up to 1 Gpps", "--load max"]),
        (["--duration", "1"], ["'1'", "'ms'"]),
        (["--duration", "2 h"], ["'2 h'", "'min'"]),
        (["--duration", "0 s"], ["--duration 0 s", "more than 0 s and up to 3600 s"]),
        (["--backend", "dpdk"], ["dpdk is not measured on", "measured there: kernel"]),
        (["--dura", "1 s"], ["unrecognized arguments: --dura"]),
        (
            ["--mode", "turbo"],
            ["no mode 'turbo'", "expected one of gro, tcp, tcp_stream, or none for the default"],
        ),
    ],
)
def test_a_trial_that_cannot_be_is_refused_before_the_lab_is_up(
    arguments: list[str], says: list[str], folder: Path
) -> None:
    lab_file = write(folder.parent / "lab.yml", GOOD.replace("cores: {tester: 0, dut: 1}\n", ""))
    refused(call("labkit", "trial", "--topology", str(lab_file), *arguments, cwd=folder), *says)
    assert not (folder.parent / "state").exists()


def test_all_that_is_wrong_with_a_trial_is_said_at_once(folder: Path) -> None:
    wrong = ["--frame", "63", "--load", "10", "--duration", "2 h", "--backend", "kernl"]
    done = call("labkit", "trial", *wrong, cwd=folder)
    refused(done, "frame size 63", "'10'", "'2 h'", "unknown backend 'kernl'", "4 mistakes in all")


def test_all_that_is_wrong_with_several_labs_and_their_targets_is_said_at_once(folder: Path) -> None:
    one = write(
        folder.parent / "one.yml", GOOD.replace("    mtu:", "    mut:").replace("[kernel]", "[kernal]")
    )
    two = write(folder.parent / "two.yml", GOOD.replace("tester: 0, dut: 1", "tester: 9998, dut: 9999"))
    beside = [
        write(lab.with_suffix(".targets.yml"), "targets:\n  - pdr: 5\n    p98: 3\n") for lab in (one, two)
    ]
    done = call("labkit", "run", f"--topology={one}", f"--topology={two}", "--topology=vet", cwd=folder)
    places = [f"{one}:2: ", f"{one}:7: ", f"{two}:3: cores.tester", f"{two}:3: cores.dut"]
    refused(
        done, *places, *(f"{path}:{line}: " for path in beside for line in (2, 3)), "did you mean 'veth'?"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("call_of_measure", "says"),
    [
        ("measure.mrr(frame_size_bytes=63)", "frame size 63: expected 64 to"),
        ("measure.mrr(frame_size_bytes=9019)", "at most 9018 bytes with FCS on link sim"),
        ("measure.latency(load='fast')", "expected a load such as 'idle', '50% PDR' or '100 kpps'"),
        ("measure.latency(load='50% XDR')", "expected a load such as 'idle', '50% PDR' or '100 kpps'"),
    ],
)
def test_a_test_of_ones_own_that_asks_for_what_cannot_be_fails_by_name(
    call_of_measure: str, says: str, folder: Path
) -> None:
    write(
        folder / "test_mine.py",
        f"import pytest\n\n@pytest.mark.dpdk\ndef test_mine(measure):\n    {call_of_measure}\n",
    )
    done = call("pytest", "-p", "no:cacheprovider", "--topology=sim", "-q", cwd=folder)
    refused(done, says, code=1)
    assert not (folder / "results").exists()


def test_a_wrong_file_of_targets_is_reported_before_anything_is_measured(folder: Path) -> None:
    lab_file = folder.parent / "lab.yml"
    write(lab_file, GOOD.replace("cores: {tester: 0, dut: 1}\n", ""))
    targets = write(folder.parent / "lab.targets.yml", 'targets:\n  - pdrr: ">= 1 Mpps"\n')
    refused(call("labkit", "run", "--topology", str(lab_file), cwd=folder), f"{targets}:2: ", "did you mean")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--quick", "--rfc2544"], ["not allowed with"]),
        (["--seed", "x"], ["--seed", "invalid int value"]),
        (["--topology", "no/such.yml"], ["no such topology file", "topologies by name"]),
        (["--topology", "/"], ["/: is a folder, expected a topology file"]),
        (["--topology", ""], ["--topology: expected a value"]),
        (["--topology", "sim", "--results", ""], ["--results: expected a value"]),
        (["--topology", "sim", "--", "--no-such-option"], ["--no-such-option"]),
    ],
)
def test_a_run_that_cannot_be_is_refused(arguments: list[str], says: list[str], folder: Path) -> None:
    refused(call("labkit", "run", *arguments, cwd=folder), *says)
    assert list(folder.iterdir()) == []


def test_two_labs_of_one_name_are_refused(folder: Path) -> None:
    """Rows of the results are distinguished by the name: the second lab would get the first one's figures."""
    for name in ("a", "b"):
        (folder / name).mkdir()
        write(
            folder / name / "sim.yml",
            "description: x\ntier: simulated\nbackends: [dpdk]\nsimulation: {dpdk: {}}\n",
        )
    labs = ["--topology", "a/sim.yml", "--topology", "b/sim.yml"]
    refused(call("labkit", "run", *labs, cwd=folder), "b/sim.yml", "'sim' is chosen already: a/sim.yml")


def test_results_that_could_not_be_stored_are_not_measured(folder: Path) -> None:
    write(folder / "results", "a file")
    refused(
        call("labkit", "run", "--topology", "sim", cwd=folder), "results is no folder", "--results", code=3
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "--topology", "sim", "--results"], 3),
        (["doctor", "--host", "localhost", "-i"], 2),
        (["report", "run", "--html"], 3),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_name_that_no_disk_takes_is_no_crash(arguments: list[str], code: int, folder: Path) -> None:
    (folder / "run").mkdir()
    write(folder / "run" / "results.json", json.dumps(encode(sample_run())))
    refused(call("labkit", *arguments, "a" * 300, cwd=folder), "File name too long", code=code)


def test_a_probe_that_is_not_built_is_missing_not_broken(folder: Path) -> None:
    done = call("labkit", "trial", "--topology", "veth", cwd=folder, LABKIT_PROBE_DIR=str(folder / "none"))
    refused(done, "not built", "labkit build", code=3)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("where", ["nowhere", "lab.yml", "empty"])
def test_a_report_of_what_is_no_run_says_what_was_expected(where: str, folder: Path) -> None:
    write(folder / "lab.yml", GOOD)
    (folder / "empty").mkdir()
    done = call("labkit", "report", where, cwd=folder)
    refused(done, where)


def test_a_run_that_was_killed_at_once_does_not_hide_the_one_before(folder: Path) -> None:
    done = call("labkit", "run", "--quick", "--topology", "sim", "-m", "kernel and loss", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    killed = folder / "results" / "29990101T000000Z-ffffff"
    killed.mkdir()
    write(killed / "records.jsonl", "")
    done = call("labkit", "report", cwd=folder)
    assert done.returncode == 0, done.stderr
    refused(call("labkit", "report", str(killed), cwd=folder), "ended before its first record")
