"""Role cpu_isolation on this machine: what it sets at run time is in effect, and goes back as it was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from host_namespace import Host
from playbooks import output

ANSIBLE = Path(__file__).parents[2] / "ansible"
WORKQUEUES = Path("/sys/devices/virtual/workqueue/cpumask")
IRQS = Path("/proc/irq")
TWO_CORES = pytest.mark.skipif(
    not os.access("/sys/devices/system/cpu/cpu1", os.F_OK), reason="one core only: a second makes it run"
)


@pytest.fixture
def play(tmp_path):
    """Runs tasks of the role in a mount namespace with notes of its own in `lib` and `run`."""
    for name in ("lib", "run"):
        (tmp_path / name).mkdir()

    def run(
        variables: dict[str, object], *arguments: str, tasks: str = "main"
    ) -> subprocess.CompletedProcess[str]:
        role = {"name": "cpu_isolation", "tasks_from": tasks}
        show = {"var": "cpu_isolation_boot_arguments"}
        playbook = tmp_path / "play.yml"
        playbook.write_text(
            yaml.safe_dump(
                [
                    {
                        "hosts": "localhost",
                        "gather_facts": False,
                        "tasks": [{"ansible.builtin.import_role": role}, {"ansible.builtin.debug": show}],
                    }
                ]
            )
        )
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        inside = f'mount --bind {tmp_path}/lib /var/lib; mount --bind {tmp_path}/run /run; exec "$@"'
        command = [
            "ansible-playbook",
            str(playbook),
            "-e",
            json.dumps({**variables, "replay_enabled": False}),
        ]
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", inside, "sh", *command, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=120,
        )

    return run


def changed(done: subprocess.CompletedProcess[str]) -> int:
    return int(re.findall(r"changed=(\d+)", done.stdout)[-1])


def affinities() -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in IRQS.glob("*/smp_affinity_list")}


def may_move(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o200)


@TWO_CORES
def test_core_is_kept_for_packets_and_given_back(play, tmp_path):
    before = affinities(), WORKQUEUES.read_text(), (IRQS / "default_smp_affinity").read_text()
    wanted = {"cpu_isolation_cpus": "1"}
    try:
        predicted, first, second = (play(wanted, *more) for more in (["--check"], [], []))
        during = affinities()
        workqueues = int(WORKQUEUES.read_text().replace(",", ""), 16)
        emptied = play({})
        after = affinities()
    finally:
        back = play({}, tasks="revert")

    runs = (predicted, first, second, emptied, back)
    assert [done.returncode for done in runs] == [0] * 5, output(first) + output(emptied)
    assert [changed(done) for done in runs] == [2, 2, 0, 1, 0]
    assert after == before[0]
    stay = {number for number, affinity in during.items() if "1" in affinity.replace("-", ",").split(",")}
    assert len(stay) < len(during)
    assert not [number for number in stay if may_move(IRQS / number / "smp_affinity_list")]
    assert workqueues & 2 == 0
    assert (affinities(), WORKQUEUES.read_text(), (IRQS / "default_smp_affinity").read_text()) == before
    assert list((tmp_path / "lib").iterdir()) == list((tmp_path / "run").iterdir()) == []


@TWO_CORES
def test_value_that_is_wanted_no_more_is_reverted(play):
    before = WORKQUEUES.read_text()
    if int(before.replace(",", ""), 16) == 1:
        pytest.skip("the kernel's workqueues are on core 0 alone already")
    more = {"cpu_isolation_cpus": "1"}
    less = {**more, "cpu_isolation_workqueues": False}
    try:
        first, predicted = play(more), play(less, "--check")
        during = WORKQUEUES.read_text()
        second, third = play(less), play(less)
        after = WORKQUEUES.read_text()
    finally:
        play({}, tasks="revert")

    assert [done.returncode for done in (first, predicted, second, third)] == [0] * 4, output(second)
    assert [changed(done) for done in (predicted, second, third)] == [1, 1, 0]
    assert during != before
    assert after == before


@TWO_CORES
def test_boot_arguments_come_in_order_from_the_one_list_and_the_cores_of_the_host(play):
    done = play({"cpu_isolation_cpus": "1", "cpu_isolation_max_cstate": 1}, tasks="boot_arguments")

    rest = Path("/sys/devices/system/cpu/present").read_text().strip().replace("0-1", "0")
    expected = (
        f"- isolcpus=managed_irq,domain,1 - nohz_full=1 - rcu_nocbs=1 - irqaffinity={rest} - skew_tick=1 "
        "- intel_idle.max_cstate=1 - processor.max_cstate=1"
    )
    assert expected in output(done)


def test_without_a_list_nothing_is_changed_and_no_argument_given(play, tmp_path):
    done = play({})

    assert done.returncode == 0, output(done)
    assert changed(done) == 0
    assert "cpu_isolation_boot_arguments: []" in output(done)
    assert list((tmp_path / "lib").iterdir()) == []


@pytest.mark.parametrize(
    ("cores", "problem"),
    [
        ("0", "core 0 can't be isolated|all cores"),
        ("9000", "there is no core 9000: this host has 0"),
        ("one", "'one' is no core or range, expected core numbers and ranges"),
    ],
)
def test_cores_that_can_not_be_isolated_are_refused_before_anything_is_changed(
    play, tmp_path, cores, problem
):
    done = play({"cpu_isolation_cpus": cores})

    assert done.returncode != 0
    assert re.search(f"({problem}).*Nothing was changed", output(done))
    assert list((tmp_path / "lib").iterdir()) == []


def test_governor_is_set_on_the_cores_that_run_and_those_that_do_not_are_reported(tmp_path):
    cpu = tmp_path / "cpu"
    for core, governor in enumerate(["powersave", "powersave", "powersave", None]):
        (cpu / f"cpu{core}/cpufreq").mkdir(parents=True)
        if governor:
            (cpu / f"cpu{core}/cpufreq/scaling_governor").write_text(f"{governor}\n")
    (cpu / "present").write_text("0-3\n")
    (cpu / "online").write_text("0-2\n")
    (tmp_path / "notes").mkdir()
    host = Host(tmp_path / "notes")
    wanted = {
        "cpu_isolation_cpus": "1,3",  # 3 is the sibling of 1
        "cpu_isolation_governor": "performance",
        "cpu_isolation_irq_affinity": False,
        "cpu_isolation_irqbalance": "keep",
        "cpu_isolation_workqueues": False,
        "cpu_isolation_watchdogs": "keep",
        "cpu_isolation_vm_stat_interval_s": "",
        "replay_enabled": False,
    }
    try:
        host.run(f"mount --bind {cpu} /sys/devices/system/cpu")
        output = host.play(["cpu_isolation"], wanted, "2>&1")
        after = [path.read_text().strip() for path in sorted(cpu.glob("cpu*/cpufreq/scaling_governor"))]
        again = host.play(["cpu_isolation"], wanted)
    finally:
        host.end()

    assert "failed=0" in output, output
    assert "cores 3 are offline (SMT off?) and left out: scaling_governor" in " ".join(output.split())
    assert after == ["powersave", "performance", "powersave"]
    assert "changed=0" in again
    assert "failed=0" in again
