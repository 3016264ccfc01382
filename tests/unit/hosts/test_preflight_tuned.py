"""tuned and a role that set the same thing are reported before anything is changed, each by its name.

The profiles are cut from those of tuned 2.25, and keep its way of including others and of naming variables.
"""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import hugepages_look, preflight_tuned, tuned

PARTITIONING = """#
# tuned configuration
#
[main]
summary=Optimize for CPU partitioning
include=network-latency

[variables]
# User is responsible for updating variables.conf
include=/etc/tuned/cpu-partitioning-variables.conf
isolated_cores = ${isolated_cores}
not_isolated_cpumask=${f:cpulist2hex:${isolated_cores}}

[sysfs]
/sys/devices/virtual/workqueue/cpumask = ${not_isolated_cpumask}

[irqbalance]
banned_cpus=${isolated_cores}

[scheduler]
isolated_cores=${isolated_cores}
"""
LATENCY = """[main]
include=latency-performance

[vm]
transparent_hugepages=never

[sysctl]
kernel.sched_rt_runtime_us = -1
vm.stat_interval = 10
vm.nr_hugepages=64
"""
PERFORMANCE = (
    "[cpu]\ngovernor=performance\nforce_latency=cstate.id_no_zero:1|3\n\n[sysctl]\nvm.stat_interval = 1\n"
)
CORES = {"cpu_isolation_cpus": "4-7"}


@pytest.fixture
def root(tmp_path):
    files = {
        "etc/tuned/active_profile": "cpu-partitioning\n",
        "etc/tuned/cpu-partitioning-variables.conf": "# isolated_cores=2\nisolated_cores=4,5,6-7\n",
        "usr/lib/tuned/cpu-partitioning/tuned.conf": PARTITIONING,
        "usr/lib/tuned/network-latency/tuned.conf": LATENCY,
        "usr/lib/tuned/profiles/latency-performance/tuned.conf": PERFORMANCE,
        "sys/devices/system/cpu/present": "0-7\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def notes_of(root, **wanted):
    wanted = {"cpu_isolation_workqueues": False, **wanted}
    return list(preflight_tuned.notes(wanted, root))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {"cpu_isolation_governor": "powersave"},
            "tuned (not running, profile cpu-partitioning) sets governor to performance ([cpu] in "
            "/usr/lib/tuned/profiles/latency-performance/tuned.conf), and cpu_isolation_governor sets it to powersave",
        ),
        ({"cpu_isolation_rt_runtime_us": "950000"}, "sets kernel.sched_rt_runtime_us to -1 ([sysctl] in"),
        ({"cpu_isolation_vm_stat_interval_s": "120"}, "sets vm.stat_interval to 10 ([sysctl] in"),
        ({"hugepages_count": "512"}, "sets vm.nr_hugepages to 64 ([sysctl] in"),
        ({"cpu_isolation_cpus": "2-3"}, "sets isolated_cores to 4,5,6-7 ([scheduler] in"),
        (
            {"cpu_isolation_workqueues": True},
            "sets /sys/devices/virtual/workqueue/cpumask to a value of its own",
        ),
    ],
)
def test_other_value_of_a_thing_that_both_set_is_reported(root, wanted, said):
    notes = notes_of(root, **{**CORES, **wanted})

    assert any(said in note for note in notes), notes


def test_same_value_and_what_no_role_sets_are_not_reported(root):
    same = {"cpu_isolation_governor": "performance", "cpu_isolation_vm_stat_interval_s": "10"}

    assert notes_of(root, **CORES, **same) == []
    assert notes_of(root) == []
    assert (
        notes_of(
            root, cpu_isolation_cpus="2-3", cpu_isolation_irq_affinity=False, cpu_isolation_irqbalance="keep"
        )
        == []
    )


def test_profile_in_etc_hides_the_one_that_came_with_tuned(root):
    (root / "etc/tuned/cpu-partitioning").mkdir()
    (root / "etc/tuned/cpu-partitioning/tuned.conf").write_text("[cpu]\ngovernor=ondemand\n")

    [note] = notes_of(root, **CORES, cpu_isolation_governor="performance")

    assert "sets governor to ondemand ([cpu] in /etc/tuned/cpu-partitioning/tuned.conf)" in note


def test_daemon_that_runs_is_reported_from_one_that_is_left(root):
    assert not tuned.look(root).running
    (root / "run/tuned").mkdir(parents=True)
    (root / "run/tuned/tuned.pid").write_text("77\n")
    assert not tuned.look(root).running
    (root / "proc/77").mkdir(parents=True)
    assert str(tuned.look(root)) == "tuned (running, profile cpu-partitioning)"


@pytest.mark.parametrize("text", ["[main\n", "no section\n", "[main]\ninclude=cpu-partitioning\n"])
def test_profile_that_cannot_be_read_or_includes_itself_tells_nothing(root, text):
    (root / "usr/lib/tuned/cpu-partitioning/tuned.conf").write_text(text)

    assert notes_of(root, **CORES, cpu_isolation_governor="powersave") == []


def test_host_without_tuned_is_reported_nothing(tmp_path):
    assert tuned.look(tmp_path) is None
    assert notes_of(tmp_path, **CORES, cpu_isolation_governor="powersave") == []


def test_hugepages_of_tuned_are_found_where_it_keeps_them(root):
    (root / "etc/tuned/bootcmdline").write_text(
        'TUNED_BOOT_CMDLINE="skew_tick=1 hugepagesz=1G hugepages=16"\n'
    )

    assert tuned.look(root).arguments == ("skew_tick=1", "hugepagesz=1G", "hugepages=16")
    assert hugepages_look._lines(
        hugepages_look._grub_files(root), rf"^[^#\n]*{hugepages_look.ARGUMENT}", root
    ) == {"/etc/tuned/bootcmdline": "hugepages=16"}
