"""Each host check on hosts with given answers: passing, failing in one thing, and not applicable."""

from __future__ import annotations

import re

import cases
import pytest
from cases import CASES
from fakes import FakeReader, desired

from labkit.doctor.host import HOST_CHECKS, Failed, NotApplicable, Passed, cpu_isolation, interfaces, replay
from labkit.doctor.host.model import compare
from labkit.errors import ConfigInvalid, ToolFailed
from labkit.machine.roles import host_module

BY_ID = {check.id: check for check in HOST_CHECKS}
ALWAYS = {"dpdk.version", "af_xdp.bpffs"}
"""Applicable to every host, whatever its variables."""


def test_every_host_check_has_a_case_and_no_other_has():
    assert CASES.keys() == BY_ID.keys()
    assert len(HOST_CHECKS) == len(BY_ID)
    assert all(case.failing for case in CASES.values())
    assert {name for name, case in CASES.items() if not case.unwanted} == ALWAYS


@pytest.mark.parametrize("name", CASES)
def test_a_host_that_is_as_wanted_passes(name):
    outcome = BY_ID[name].check(CASES[name].passing, desired(**CASES[name].wanted))

    assert isinstance(outcome, Passed), outcome
    assert outcome.found


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in CASES for what in CASES[name].failing])
def test_a_host_that_differs_in_one_thing_fails(name, what):
    outcome = BY_ID[name].check(CASES[name].failing[what], desired(**CASES[name].wanted))

    assert isinstance(outcome, Failed), outcome
    assert outcome.expected
    assert outcome.found
    assert outcome.expected != outcome.found


@pytest.mark.parametrize("name", sorted(CASES.keys() - ALWAYS))
def test_a_host_check_that_nobody_asks_for_is_not_applicable_on_any_host(name):
    for reader in (CASES[name].passing, FakeReader()):
        outcome = BY_ID[name].check(reader, desired(**CASES[name].unwanted))

        assert isinstance(outcome, NotApplicable), outcome
        assert outcome.reason


def test_machine_without_cstates_or_frequencies_of_its_own_is_reported():
    for name in ("cpu_isolation.governor", "cpu_isolation.cstates"):
        outcome = BY_ID[name].check(FakeReader(), desired(**CASES[name].wanted))

        assert isinstance(outcome, NotApplicable)
        assert "this machine has no" in outcome.reason


SMT_OFF = {f"{cases.CPU}/online": "0-2", f"{cases.CPU}/cpu3/cpufreq/scaling_governor": None}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("governor", "performance on 2 cores; 3 is offline (SMT off?) and can't be used"),
        ("isolated", "cores 1,2,3; 3 is offline (SMT off?) and can't be used"),
    ],
)
def test_offline_core_is_left_out_and_reported(name, found):
    case = CASES[f"cpu_isolation.{name}"]

    assert BY_ID[f"cpu_isolation.{name}"].check(
        case.passing.but(files=SMT_OFF), desired(**case.wanted)
    ) == Passed(found)


def test_governor_of_cores_that_are_all_offline_is_not_applicable():
    case = CASES["cpu_isolation.governor"]
    reader = case.passing.but(files={f"{cases.CPU}/online": "0"})

    assert isinstance(BY_ID["cpu_isolation.governor"].check(reader, desired(**case.wanted)), NotApplicable)


def test_interrupt_that_may_go_to_an_offline_core_alone_is_not_taken_for_one_that_does():
    case = CASES["cpu_isolation.interrupts"]
    files = {
        f"{cases.IRQ}/24/smp_affinity_list": "0,3",
        f"{cases.IRQ}/24/effective_affinity_list": None,
    }
    check = BY_ID["cpu_isolation.interrupts"].check

    assert isinstance(check(case.passing.but(files=files), desired(**case.wanted)), Failed)
    assert isinstance(check(case.passing.but(files={**files, **SMT_OFF}), desired(**case.wanted)), Passed)


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("isolated", f"{cases.CPU}/isolated", "1-"),
        ("nohz_full", f"{cases.CPU}/nohz_full", "x"),
        ("governor", f"{cases.CPU}/online", "?"),
        ("interrupts", f"{cases.IRQ}/24/effective_affinity_list", "-"),
        ("interrupts", f"{cases.IRQ}/default_smp_affinity", "xyz"),
        ("workqueues", "/sys/devices/virtual/workqueue/cpumask", "g"),
        ("watchdogs", f"{cases.SYS}/watchdog_cpumask", "all"),
        ("watchdogs", f"{cases.SYS}/watchdog_cpumask", "3-0"),
        ("rt_runtime", f"{cases.SYS}/sched_rt_runtime_us", "max"),
    ],
)
def test_file_that_cannot_be_read_is_named(name, path, text):
    case = CASES[f"cpu_isolation.{name}"]

    with pytest.raises(ToolFailed, match=re.escape(f"{path}: can't be read, found {text!r}")):
        BY_ID[f"cpu_isolation.{name}"].run(case.passing.but(files={path: text}), desired(**case.wanted))


def test_list_of_cores_that_is_none_is_reported_with_its_variable():
    case = CASES["cpu_isolation.isolated"]

    with pytest.raises(ConfigInvalid, match="dut: cpu_isolation_cpus: cores '1-x'"):
        BY_ID["cpu_isolation.isolated"].run(
            case.passing, desired(**{**case.wanted, "cpu_isolation_cpus": "1-x"})
        )


SPELLINGS = ("0000:00:05.0", "00:05.0", "0:5.0", "0:00:05.0", "00000000:00:05.0", " 0000:00:05.0 ")


@pytest.mark.parametrize("name", ["dpdk.bound", "dpdk.iommu", "dpdk.access"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_device_is_found_by_its_address_in_every_spelling_that_the_role_takes(name, spelling):
    wanted = {**CASES[name].wanted, "dpdk_devices": [{"pci": spelling, "driver": "vfio-pci"}]}

    assert BY_ID[name].check(CASES[name].passing, desired(**wanted)) == BY_ID[name].check(
        CASES[name].passing, desired(**CASES[name].wanted)
    )


def test_device_of_which_the_address_is_none_is_reported_with_its_place():
    wanted = {**CASES["dpdk.bound"].wanted, "dpdk_devices": [{"pci": "eth0", "driver": "vfio-pci"}]}

    with pytest.raises(ConfigInvalid, match=r"dpdk_devices\[0\].pci: eth0 is no PCI address"):
        BY_ID["dpdk.bound"].run(FakeReader(), desired(**wanted))


@pytest.mark.parametrize(
    "text", ["eth1", "enp3s0f1", "the data", "0000:3b:00.1", "3b:00.1", "3B:00.1", "0:3b:0.1"]
)
def test_interface_is_found_by_whatever_the_roles_find_it_by(text):
    links = '[{"ifname": "eth0"}, {"ifname": "eth1", "altnames": ["enp3s0f1"], "ifalias": "the data"}]'
    devices = (
        "eth0 /sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0\n"
        "eth1 /sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1/virtio2\n"
    )
    reader = FakeReader(commands={"links": links, "devices": devices})

    assert interfaces.resolved(reader, text) == "eth1"
    assert interfaces.resolved(reader, "0000:3a:00.0") == "0000:3a:00.0"  # a bridge on the way


def test_auto_is_an_eighth_of_the_memory_and_at_most_a_gibibyte():
    wanted = {"hugepages_count": "auto", "hugepages_pools": [], "hugepages_minimum": 128}
    pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    for memory_kib, pages in ((2 << 20, 128), (64 << 20, 512)):
        files = {"/proc/meminfo": f"MemTotal: {memory_kib} kB"}
        check = BY_ID["hugepages.granted"].check

        assert isinstance(check(FakeReader({**files, pool: str(pages)}), desired(**wanted)), Passed)
        assert isinstance(check(FakeReader({**files, pool: str(pages - 1)}), desired(**wanted)), Failed)


@pytest.mark.parametrize("pools", [{}, {"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0"}])
@pytest.mark.parametrize(
    ("count", "kind"), [("512", Failed), (512, Failed), ("auto", NotApplicable), (0, NotApplicable)]
)
def test_number_of_pages_that_the_kernel_does_not_have_fails_and_auto_does_not(pools, count, kind):
    wanted = {"hugepages_count": count, "hugepages_pools": [], "hugepages_minimum": "128"}
    reader = FakeReader({"/proc/meminfo": "MemTotal: 8388608 kB", **pools})

    assert isinstance(BY_ID["hugepages.granted"].check(reader, desired(**wanted)), kind)


@pytest.mark.parametrize("count", ["many", "²", "٥١٢"])
def test_number_of_pages_that_is_none_is_reported_with_its_variable(count):
    with pytest.raises(ConfigInvalid, match=f"hugepages_count: '{count}', expected auto or a number"):
        BY_ID["hugepages.granted"].run(FakeReader(), desired(hugepages_count=count, hugepages_pools=[]))


def test_mode_that_is_none_is_reported_with_its_mount():
    mounts = [{"path": "/mnt/huge", "size_kib": 2048, "mode": "rwx"}]
    case = CASES["hugepages.mounts"]

    with pytest.raises(ConfigInvalid, match="hugepages_mounts: /mnt/huge: mode 'rwx', expected octal digits"):
        BY_ID["hugepages.mounts"].run(case.passing, desired(**{**case.wanted, "hugepages_mounts": mounts}))


@pytest.mark.parametrize("wanted", ["unlimited", "infinity", "-1", "65536"])
def test_limit_of_locked_memory_is_read_as_limits_conf_has_it(wanted):
    case = CASES["dpdk.memlock"]
    reader = case.passing.but(commands={"limit": "unlimited"})
    values = {**case.wanted, "dpdk_memlock_kib": wanted}

    assert isinstance(BY_ID["dpdk.memlock"].check(reader, desired(**values)), Passed)
    less = reader.but(commands={"limit": "64"})
    assert isinstance(BY_ID["dpdk.memlock"].check(less, desired(**values)), Failed)


@pytest.mark.parametrize("wanted", ["lots", "٦٥٥٣٦"])
def test_limit_that_is_none_is_reported_with_its_variable(wanted):
    case = CASES["dpdk.memlock"]

    with pytest.raises(
        ConfigInvalid, match=f"dpdk_memlock_kib: '{wanted}', expected a number of KiB or unlimited"
    ):
        BY_ID["dpdk.memlock"].run(case.passing, desired(**{**case.wanted, "dpdk_memlock_kib": wanted}))


def test_dpdk_of_a_source_is_the_version_that_is_wanted_and_starts():
    wanted = {"dpdk_packages": ["libdpdk-dev"], "dpdk_source_url": "https://198.18.0.1/dpdk.tar.xz"}
    check, passing = BY_ID["dpdk.version"].check, CASES["dpdk.version"].passing.but(commands={"packages": ""})

    assert isinstance(check(passing, desired(**wanted, dpdk_source_version="22.11.7")), Passed)
    assert check(passing, desired(**wanted, dpdk_source_version="24.11")) == Failed(
        "DPDK 24.11", "DPDK 22.11.7"
    )


def test_what_no_wanted_package_brings_is_not_looked_for():
    only_run = {"dpdk_packages": ["dpdk"], "dpdk_source_url": "", "dpdk_source_version": ""}
    only_tools = {"af_xdp_packages": [], "af_xdp_tools_packages": ["xdp-tools"]}

    reader = FakeReader(commands={"packages": "dpdk\nxdp-tools"})

    assert isinstance(BY_ID["dpdk.version"].check(reader, desired(**only_run)), Passed)
    assert isinstance(BY_ID["af_xdp.libxdp"].check(reader, desired(**only_tools)), Passed)


def test_default_of_el_is_read_from_grubby():
    case = CASES["boot.default"]
    text = 'kernel="/boot/vmlinuz-6.1.0-56-rt-amd64"\nargs="ro isolcpus=1-3 nohz_full=1-3"'

    outcome = BY_ID["boot.default"].check(
        case.passing.but(commands={"grubby": text, "menu": ""}), desired(**case.wanted)
    )

    assert isinstance(outcome, Passed)


def test_comparison_names_only_what_differs():
    outcome = compare([("a", "1", "1"), ("b", "2", "3"), ("c", "4", "5")], "all")

    assert outcome == Failed("b 2; c 4", "b 3; c 5")
    assert compare([("a", "1", "1")], "all") == Passed("all")


def test_argument_that_was_ours_and_is_no_longer_wanted_is_reported():
    case, grub = CASES["boot.arguments"], host_module("grub_defaults")
    left = case.passing.but(files={grub.ARGUMENTS: grub.arguments_text(["isolcpus=1-3", "nohz_full=1-3"])})

    for wanted, found in ((["isolcpus=1-3"], "nohz_full"), ([], "isolcpus=1-3 is left over; nohz_full")):
        outcome = BY_ID["boot.arguments"].check(left, desired(boot_arguments=wanted))

        assert isinstance(outcome, Failed)
        assert outcome.found == f"{found}=1-3 is left over"
    assert isinstance(BY_ID["boot.arguments"].check(left, desired(**case.wanted)), Passed)


@pytest.mark.parametrize(
    ("ports", "interfaces"),
    [
        ([{"interface": "ens5"}], '["--vdev=net_af_packet0,iface=ens5", "dummy"]'),
        ([{"pci": "3B:00.0"}, {"pci": "3b:0.1"}], '["0000:3b:00.0", "0000:3b:00.1"]'),
    ],
)
def test_ports_of_trex_are_found_in_every_spelling(ports, interfaces):
    case = CASES["trex.ports"]
    reader = case.passing.but(files={"/etc/labkit/trex/host.yaml": f'  "interfaces": {interfaces}'})

    found = BY_ID["trex.ports"].check(reader, desired(**{**case.wanted, "trex_ports": ports}))

    assert isinstance(found, Passed), found


def test_trex_in_a_network_namespace_of_its_own_is_reached_by_nobody():
    case = CASES["trex.reach"]

    found = BY_ID["trex.reach"].check(
        case.passing.but(commands={"reach": "namespace\nlo"}), desired(**case.wanted)
    )

    assert isinstance(found, Passed), found


@pytest.mark.parametrize("name", ["units", "registered", "queues"])
def test_nic_that_onload_drives_itself_has_nothing_to_be_registered(name):
    case = CASES[f"openonload.{name}"]
    wanted = {**case.wanted, "openonload_interfaces": [{"name": "ens9"}]}

    assert isinstance(BY_ID[f"openonload.{name}"].check(case.passing, desired(**wanted)), NotApplicable)


def test_names_that_the_collection_has_too_are_the_same():
    assert f"/{host_module('irqs').JOURNAL}" == cpu_isolation._JOURNAL
    assert host_module("replay_unit").UNIT == replay.UNIT


@pytest.mark.parametrize(
    ("memory_mib", "granted", "expected"),
    [(2047, "0", NotApplicable), (2048, "0", Failed), (2048, "128", Passed)],
)
def test_eighth_of_the_memory_is_expected_where_it_carries_a_vhost_pair(memory_mib, granted, expected):
    tunable = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    reader = FakeReader(files={"/proc/meminfo": f"MemTotal: {memory_mib << 10} kB", tunable: granted})
    wanted = desired(hugepages_count="auto", hugepages_pools=[], hugepages_minimum=128)

    assert isinstance(BY_ID["hugepages.granted"].check(reader, wanted), expected)
