from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from sample_run import sample_run

import labkit
from labkit.lab.topology_file import load as load_topology
from labkit.record import hardware
from labkit.record.codec import encode
from labkit.record.environment import collect
from labkit.record.provenance import Environment
from labkit.record.store import RunStore, load
from labkit.session.plan import plan_for

FILES = {
    "proc/cpuinfo": "processor : 0\nvendor_id : V\ncpu family : 6\nmodel : 85\nstepping : 7\nmodel name : M 1\n"
    "microcode : 0x5\nflags : fpu constant_tsc nonstop_tsc hypervisor\n\nprocessor : 1\nmodel name : other\n",
    "proc/cmdline": "root=/dev/vda quiet isolcpus=1 -- --token=secret\n",
    "proc/meminfo": "MemTotal:       1024 kB\nMemAvailable:    512 kB\n",
    "proc/loadavg": "0.5 0.25 0.1 1/100 42\n",
    "proc/uptime": "100.5 50.0\n",
    "proc/stat": "cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1 1 1 1\n",
    "proc/7/comm": "irqbalance\n",
    "sys/devices/system/cpu/online": "0-3,8\n",
    "sys/devices/system/cpu/smt/active": "1\n",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0,4\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu1/topology/physical_package_id": "1\n",
    "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
    "sys/devices/system/cpu/cpu0/cache/index2/size": "1024K\n",
    "sys/devices/system/cpu/vulnerabilities/meltdown": "Mitigation: PTI\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpufreq/policy1/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "1\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet \n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "500\n",
    "sys/kernel/debug/sched/preempt": "none voluntary (full) lazy\n",
    "etc/os-release": 'NAME="X"\nPRETTY_NAME="Example Linux 9"\n',
    "sys/class/dmi/id/product_name": "Example VM\n",
}


@pytest.fixture
def root(tmp_path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "root"


def read(root: Path, **arguments) -> Environment:
    return collect(root=root, **arguments)


def test_what_can_be_read_is_recorded(root):
    e = read(root)
    assert (e.cpu.model, e.cpu.microcode, e.cpu.family_model_stepping) == ("M 1", "0x5", "6/85/7")
    assert (e.cpu.online_count, e.cpu.threads_per_core, e.cpu.sockets, e.cpu.smt_active) == (5, 2, 2, True)
    assert (e.cpu.l2_bytes, e.cpu.l3_bytes) == (1 << 20, None)
    assert e.cpu.features == ("constant_tsc", "hypervisor", "nonstop_tsc")
    assert e.cpu.mitigations == {"meltdown": "Mitigation: PTI"}
    assert (e.kernel.preempt, e.kernel.preempt_source) == ("full", "/sys/kernel/debug/sched/preempt")
    assert e.kernel.distribution == "Example Linux 9"
    assert (e.clock.clocksource, e.clock.available, e.clock.tsc_known_freq) == ("tsc", ("tsc", "hpet"), False)
    assert (e.power.governors, e.power.turbo) == (("performance", "powersave"), False)
    assert (e.memory.total_bytes, e.memory.available_bytes) == (1 << 20, 1 << 19)
    assert e.memory.transparent_hugepages == "madvise"
    assert [(p.page_bytes, p.total, p.free) for p in e.memory.hugepages] == [(2 << 20, 512, 500)]
    assert e.virtualisation.hypervisor == "Example VM"
    assert (e.load.load_1min, e.load.uptime_s, e.load.steal_ratio) == (0.5, 100.5, 0.1)
    assert e.network.irqbalance_running is True


def test_the_host_is_known_again_by_a_hash_of_its_id_and_by_nothing_else(root):
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    first = read(root)
    assert re.fullmatch("[0-9a-f]{32}", first.host or "")
    assert "0123456789abcdef" not in str(encode(first))
    assert read(root).host == first.host
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdee\n")
    assert read(root).host not in (first.host, None)
    (root / "etc/machine-id").write_text("uninitialized\n")
    assert read(root).host is None


def test_what_cannot_be_read_is_null_with_the_systems_words(root):
    (root / "sys/devices/system/cpu/online").unlink()
    (root / "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").write_text("many")
    e = read(root)
    assert e.cpu.online is e.cpu.online_count is None
    assert e.unreadable["/sys/devices/system/cpu/online"] == os.strerror(2)
    assert e.memory.hugepages[0].free is None
    assert "'many'" in e.unreadable["/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"]
    assert e.power.frequency_driver is None
    assert "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver" in e.unreadable


def test_an_empty_machine_gives_a_record_of_nulls_not_an_error(tmp_path):
    e = read(tmp_path)
    assert e.cpu.model is e.load.load_1min is e.load.steal_ratio is e.memory.total_bytes is None
    assert e.clock.constant_tsc is None
    assert len(e.unreadable) > 20


def test_what_follows_the_kernels_own_arguments_is_left_out(root):
    assert read(root).kernel.cmdline == "root=/dev/vda quiet isolcpus=1"


def test_nothing_of_names_homes_and_variables_is_in_the_record(root, monkeypatch):
    monkeypatch.setenv("LABKIT_SECRET", "hush-hush")
    name = os.uname().nodename
    (root / "proc/cmdline").write_text(f"ip=::::{name}:eth0 systemd.hostname={name}")
    e = read(root, tools={"probe": Path.home() / "probe"})
    text = str(encode(e))
    assert "hush-hush" not in text
    assert str(Path.home()) + "/" not in text
    if len(name) > 2:
        assert name not in (e.kernel.cmdline or "").replace("hostname", "")


def test_tools_are_hashed_and_hashed_anew_when_they_change(tmp_path):
    tool = tmp_path / "probe"
    tool.write_bytes(b"one")

    def digest() -> str | None:
        return next(t.sha256 for t in read(Path("/"), tools={"probe": tool}).tools if t.name == "probe")

    first = digest()
    assert first == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    tool.write_bytes(b"three")
    assert digest() not in (first, None)
    tool.unlink()
    e = read(Path("/"), tools={"probe": tool})
    assert next(t for t in e.tools if t.name == "probe").sha256 is None
    assert e.unreadable["tool probe"] == os.strerror(2)


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(
        ["git", *who, "-C", folder, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_and_whether_it_was_changed_are_recorded(tmp_path, monkeypatch):
    package = tmp_path / "labkit"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(labkit, "__file__", str(package / "__init__.py"))
    assert read(Path("/")).source.commit is None
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "labkit")
    git(tmp_path, "commit", "-q", "-m", "x")
    source = read(Path("/")).source
    assert (source.commit, source.dirty) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "untracked").write_text("")
    assert read(Path("/")).source.dirty is False
    (package / "__init__.py").write_text("changed")
    assert read(Path("/")).source.dirty is True


def test_a_broken_checkout_is_reported_without_its_path(tmp_path, monkeypatch):
    (tmp_path / "labkit").mkdir()
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(labkit, "__file__", str(tmp_path / "labkit" / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    e = read(Path("/"))
    assert (e.source.commit, e.source.dirty) == (None, None)
    assert e.unreadable["git"]
    assert str(tmp_path) not in e.unreadable["git"]


def test_seed_parameters_and_links_are_kept(root):
    e = read(root, seed=5, parameters={"width": 0.005}, links={"veth": {"gro": True}})
    assert (e.seed, e.parameters, e.network.links) == (5, {"width": 0.005}, {"veth": {"gro": True}})


def test_what_was_collected_is_what_is_read_back_from_the_run(tmp_path):
    with RunStore.create(tmp_path, command=["labkit"], quick=True, seed=1) as store:
        found = collect(
            topologies=[load_topology("veth")],
            links={"veth": {"ports": {"a": {"offloads": {"gro": True}, "addresses": ["198.18.0.1/24"]}}}},
            tools={"probe": Path("/bin/true")},
            seed=1,
            parameters=encode(plan_for(quick=True, rfc2544=False)),
        )
        store.set_environment(found)
    assert load(store.folder).environment == found == load(store.folder / "records.jsonl").environment


def test_this_machine_is_read_fast_enough_and_fits_the_type():
    collect()
    best = min(_seconds() for _ in range(3))
    assert best < 0.3
    e = read(Path("/"))
    assert e.kernel.release == os.uname().release
    assert e.labkit == labkit.__version__
    assert {"MLRsearch", "hdrhistogram"} <= {t.name for t in e.tools}


def _seconds() -> float:
    before = time.perf_counter()
    collect()
    return time.perf_counter() - before


def test_only_root_of_the_initial_user_namespace_is_privileged(root):
    (root / "proc/self").mkdir()
    (root / "proc/self/uid_map").write_text("         0       1000          1\n")
    assert read(root).privileged is False
    (root / "proc/self/uid_map").write_text("         0          0 4294967295\n")
    assert read(root).privileged is (os.geteuid() == 0)


def test_the_test_data_has_every_field():
    record = sample_run().environment
    assert record is not None
    assert encode(record).keys() == encode(collect()).keys()
    assert hardware.FEATURES
