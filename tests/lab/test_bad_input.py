"""What this machine refuses, at the command line: the real error, the command that mends it, exit code 3, no traceback.

A missing privilege or limit is made by taking it from the labkit process, not by pretending.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import unprivileged

from labkit.lab.topology_file import load
from labkit.probe import build

LABKIT = ["-m", "labkit.cli"]
WITHOUT_BPF = ["setpriv", "--bounding-set=-bpf,-sys_admin,-perfmon", "--inh-caps=-bpf,-sys_admin,-perfmon"]
LITTLE_MEMLOCK = [
    *("prlimit", "--memlock=65536:65536"),
    *("setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"),
]
NO_USER_NAMESPACES = [
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all -- "$@"',
    "sh",
]


@pytest.fixture(scope="module", autouse=True)
def built_probe() -> None:
    build.build()


def labkit(
    *arguments: str, cwd: Path, through: Sequence[str] = (), timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *LABKIT]
    environment = {**os.environ, "LABKIT_STATE_DIR": str(cwd / "state")}
    if through:
        built = build.build_directory().parent
        command = [*unprivileged.below_mnt(probe=built), *through, unprivileged.PYTHON, *LABKIT]
        environment |= {**unprivileged.SEEN, "LABKIT_PROBE_DIR": "/mnt/probe"}
    return subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *says: str, code: int = 3) -> None:
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    for words in says:
        assert words in " ".join(output.split()), output
    assert "Traceback" not in output


def test_where_bpf_is_refused_xdp_says_so_and_what_would_help(tmp_path: Path) -> None:
    for backend in ("xdp", "af_xdp"):
        done = labkit("trial", "--topology", "veth", "--backend", backend, cwd=tmp_path, through=WITHOUT_BPF)
        refused(done, "bpf, ", "bpf(BPF_PROG_LOAD, XDP): Operation not permitted", "fix: ")


def test_where_bpf_is_refused_the_other_datapaths_still_run(tmp_path: Path) -> None:
    done = labkit("trial", "--topology", "veth", "--json", cwd=tmp_path, through=WITHOUT_BPF)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["tester"]["engine"] == "af_packet"
    assert answer["proof"]["proven"]


def test_where_bpf_is_refused_a_run_skips_with_the_reason(tmp_path: Path) -> None:
    arguments = ["run", "--quick", "--topology", "veth", "-m", "xdp and throughput"]
    done = labkit(*arguments, cwd=tmp_path, through=WITHOUT_BPF)
    assert done.returncode == 5, done.stdout + done.stderr  # nothing was measured
    (results,) = tmp_path.glob("results/*/results.json")
    (verdict,) = json.loads(results.read_text())["verdicts"]
    assert verdict["outcome"] == "skip"
    assert "bpf, " in verdict["reason"]
    assert "fix: " in verdict["reason"]


def test_too_little_lockable_memory_is_named_with_the_limit_to_raise(tmp_path: Path) -> None:
    done = labkit("trial", "--topology", "veth", "--backend", "af_xdp", cwd=tmp_path, through=LITTLE_MEMLOCK)
    refused(done, "memlock: ", "ulimit -l unlimited")


def test_with_too_little_lockable_memory_the_other_datapaths_still_run(tmp_path: Path) -> None:
    done = labkit("trial", "--topology", "veth", "--json", cwd=tmp_path, through=LITTLE_MEMLOCK)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tester"]["engine"] == "af_packet"


def test_who_is_neither_root_nor_may_become_it_is_shown_the_setting(tmp_path: Path) -> None:
    done = labkit("up", cwd=tmp_path, through=NO_USER_NAMESPACES)
    refused(done, "not root, and user namespaces are refused", "sysctl -w user.max_user_namespaces=10000")


def test_an_ordinary_users_run_measures_what_it_may_and_skips_the_rest_with_the_reason(
    tmp_path: Path,
) -> None:
    arguments = ["run", "--quick", "--allow-invalid", "--retry", "0"]
    arguments += ["--topology", "veth", "--topology", "memif"]
    done = unprivileged.run(
        [
            "-m",
            "labkit.cli",
            *arguments,
            "-m",
            "throughput and (xdp or dpdk)",
            "--results",
            "/mnt/home/results",
        ],
        probe=build.build_directory().parent,
        home=tmp_path,
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    (results,) = tmp_path.glob("work/results/*/results.json")
    run = json.loads(results.read_text())
    assert {(m["key"].get("backend"), m["key"]["topology"]) for m in run["measurements"]} >= {
        ("dpdk", "memif")
    }, output
    (skip,) = [verdict for verdict in run["verdicts"] if verdict["outcome"] == "skip"]
    assert skip["key"]["backend"] == "xdp"
    assert "Operation not permitted (fix: sudo " in skip["reason"]


MASKED_SYS = """
mkdir -p /mnt/root
mount -t tmpfs -o mode=755 none /mnt/root
cd /mnt/root
for place in /*; do
    if [ -L "$place" ]; then cp -P "$place" .
    elif [ -d "$place" ] && [ "$place" != /sys ]; then
        mkdir ".$place"
        mount --rbind "$place" ".$place"
    fi
done
mkdir sys .former-root
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o ro none sys/firmware || mount -t tmpfs -o ro none sys/module
pivot_root . .former-root
cd /
umount -l .former-root
exec "$@"
"""
"""A container's root, in which the kernel refuses a sysfs of one's own."""
ELSEWHERES_NETWORK = {
    "unshare -Ur": ["unshare", "--user", "--map-root-user"],
    "unshare -Urm": ["unshare", "--user", "--map-root-user", "--mount"],
    "a read-only /sys as well": [
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
        'mount --rbind /sys /sys; mount -o remount,bind,ro /sys; exec "$@"',
        "sh",
    ],
    "a container with parts of /sys masked": [
        *("unshare", "--user", "--map-root-user", "--mount", "--net", "sh", "-ec"),
        MASKED_SYS,
        "sh",
    ],
    "and without CAP_NET_ADMIN": [
        *("unshare", "--user", "--map-root-user"),
        *("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"),
    ],
}


@pytest.mark.parametrize("through", ELSEWHERES_NETWORK.values(), ids=ELSEWHERES_NETWORK)
def test_root_of_a_user_namespace_on_the_hosts_network_measures(through: list[str], tmp_path: Path) -> None:
    """As in a container without root, most of them started on the host's network."""
    done = labkit(
        "trial", "--topology", "veth", "--duration", "0.1 s", "--json", cwd=tmp_path, through=through
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proof"]["proven"]
    up = labkit("up", cwd=tmp_path, through=through)
    assert up.returncode == 0, up.stderr
    assert labkit("down", cwd=tmp_path).returncode == 0


def test_an_ordinary_user_who_became_root_of_a_user_namespace_keeps_a_journal(tmp_path: Path) -> None:
    """Without a place for the journal named: root's is not theirs, the one at home is."""
    labkit = "/mnt/venv/bin/python3 -m labkit.cli"
    script = f"{labkit} up --topology memif; ls ~/.local/state/labkit; {labkit} down"
    call = ["unshare", "-Ur", "sh", "-ec", script]
    done = unprivileged.run(
        ["-c", f"import os; del os.environ['LABKIT_STATE_DIR']; os.execvp('unshare', {call})"],
        probe=build.build_directory().parent,
        home=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "journal.jsonl" in done.stdout


def test_one_core_is_reported_and_skipped_before_anything_is_measured(tmp_path: Path) -> None:
    """A cpuset or container of one core: what doctor foresees is a skip with its fix, in each verb."""
    one = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    refused(
        labkit("trial", "--topology", "memif", "--backend", "dpdk", cwd=tmp_path, through=one),
        "cores: only core",
    )
    refused(labkit("up", cwd=tmp_path, through=one), "need a core each", "two cores or more")
    arguments = ["run", "--quick", "--topology", "veth", "--topology", "memif", "-m", "throughput"]
    run = labkit(*arguments, cwd=tmp_path, through=one)
    assert run.returncode != 1, run.stdout
    (results,) = tmp_path.glob("results/*/results.json")
    verdicts = json.loads(results.read_text())["verdicts"]
    assert {verdict["outcome"] for verdict in verdicts} == {"skip"}
    assert all(
        "cores: only core" in v["reason"] and "(fix: give this machine" in v["reason"] for v in verdicts
    )


def test_what_was_not_foreseen_is_reported_as_broken_off(tmp_path: Path) -> None:
    lab_file = tmp_path / "large.yml"
    lab_file.write_text(load("memif").text.replace("memory: 512 MiB", "memory: 4096 GiB"))
    done = labkit("run", "--quick", "--topology", str(lab_file), "-m", "throughput", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "aborted: 2097152 hugepages" in done.stdout
    assert "1 of the failed missed none: the measurement was aborted" in done.stdout


def test_root_without_its_rights_is_reported(tmp_path: Path) -> None:
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    refused(
        labkit("up", cwd=tmp_path, through=without),
        "root without CAP_SYS_ADMIN or CAP_NET_ADMIN, and user namespaces are refused",
        "--privileged",
    )
    run = labkit("run", "--quick", "--topology", "veth", "-m", "throughput", cwd=tmp_path, through=without)
    assert run.returncode not in (1, 3), run.stdout + run.stderr
    (results,) = tmp_path.glob("results/*/results.json")
    outcomes = {verdict["outcome"] for verdict in json.loads(results.read_text())["verdicts"]}
    assert outcomes == {"skip"}


def test_more_hugepages_than_the_machine_has_are_refused_and_given_back(tmp_path: Path) -> None:
    before = Path("/proc/sys/vm/nr_hugepages").read_text()
    lab_file = tmp_path / "large.yml"
    lab_file.write_text(load("memif").text.replace("memory: 512 MiB", "memory: 4096 GiB"))
    done = labkit("up", "--topology", str(lab_file), cwd=tmp_path)
    refused(done, "hugepages", "hint: ", "hugepages: no")
    assert Path("/proc/sys/vm/nr_hugepages").read_text() == before
    assert labkit("down", cwd=tmp_path).stdout == "nothing to revert\n"


def test_a_lab_that_is_up_already_is_not_brought_up_again(tmp_path: Path) -> None:
    try:
        assert labkit("up", cwd=tmp_path).returncode == 0
        refused(labkit("up", cwd=tmp_path), "the lab veth is up", "labkit down")
    finally:
        assert labkit("down", cwd=tmp_path).returncode == 0


def test_a_lab_stands_on_though_its_files_are_gone(tmp_path: Path) -> None:
    """Its topology, and the targets beside it, may be moved while it is up: down and status do not need them."""
    (tmp_path / "mine.yml").write_text(load("veth").text + "targets: [mine.txt]\n")
    (tmp_path / "mine.txt").write_text('targets:\n  - loss_at_10_percent: "<= 1 %"\n')
    try:
        up = labkit("up", "--topology", "mine.yml", cwd=tmp_path)
        assert up.returncode == 0, up.stderr
        (tmp_path / "mine.yml").unlink()
        (tmp_path / "mine.txt").unlink()
        shown = labkit("status", "--json", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)[0]["alive"]
    finally:
        done = labkit("down", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert labkit("status", cwd=tmp_path).stdout.startswith("no lab is up")


def probes(folder: Path) -> dict[str, int]:
    """Running probes of this test, by the engine in their name."""
    mark = f"LABKIT_STATE_DIR={folder / 'state'}".encode()
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                program = Path((entry / "cmdline").read_bytes().split(b"\0")[0].decode()).name
                if program.startswith("labkit-probe-"):
                    found[program.removeprefix("labkit-probe-")] = int(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("engine", ["socket", "af_xdp"])
def test_a_program_that_dies_in_a_run_fails_that_test_and_the_next_one_measures(
    engine: str, tmp_path: Path
) -> None:
    """The DUT (socket) or the tester (xdp) is killed in the first test; the second one finds both anew."""
    (tmp_path / "test_two.py").write_text(
        "import pytest\n"
        "@pytest.mark.kernel\n@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_two(measure, n):\n    measure.latency(load='20 kpps')\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--topology=veth", "--labkit-quick", "-v"],
        cwd=tmp_path,
        env={**os.environ, "LABKIT_STATE_DIR": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not {"socket", "af_xdp"} <= probes(tmp_path).keys():
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(probes(tmp_path)[engine], signal.SIGKILL)
        output, _ = run.communicate(timeout=120)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 1, output
    assert f"labkit-probe-{engine}) was killed by SIGKILL" in output
    assert "1 failed, 1 passed" in output
    assert "Traceback" not in output
    (results,) = tmp_path.glob("results/*/results.json")
    assert [m["kind"] for m in json.loads(results.read_text())["measurements"]] == ["latency"]
    assert probes(tmp_path) == {}


def test_ctrl_c_in_a_trial_takes_everything_down(tmp_path: Path) -> None:
    trial = subprocess.Popen(
        [sys.executable, *LABKIT, "trial", "--topology", "veth", "--duration", "20 s"],
        cwd=tmp_path,
        env={**os.environ, "LABKIT_STATE_DIR": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while len(probes(tmp_path)) < 2:
            assert trial.poll() is None, trial.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        trial.send_signal(signal.SIGINT)
        _, errors = trial.communicate(timeout=15)
    finally:
        trial.kill()
        trial.wait()
    assert trial.returncode == 130, errors
    assert "labkit: interrupted" in errors
    assert "Traceback" not in errors
    assert probes(tmp_path) == {}
