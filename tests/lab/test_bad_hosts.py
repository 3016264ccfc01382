"""Bad input to site.yml: each mistake is refused before the first change, by name and with the way out.

One run of the playbook over an inventory in which every host has another mistake, and one has none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from playbooks import output, play

pytestmark = pytest.mark.beside

RIGHT = {"hugepages_count": "0"}
"""What every host has besides its mistake."""

NETWORK = """
mount -t sysfs none /sys
ip link add mgmt0 type veth peer name mgmt1
ip link add data0 type veth peer name data1
ip link set mgmt0 up
ip address add 198.18.0.1/24 dev mgmt0
ip route add default via 198.18.0.2
"""

LAST = os.cpu_count() - 1
NO_NIC = next(
    (
        device.name
        for device in sorted(Path("/sys/bus/pci/devices").glob("*"))
        if not (device / "class").read_text().startswith("0x02")
    ),
    None,
)
"""A PCI device of this machine that is none."""

BAD = {
    "word-for-number": (
        {"hugepages_minimum": "yes please"},
        "hugepages_minimum: found 'yes please'",
        "a whole number",
    ),
    "text-for-list": ({"af_xdp_packages": "clang"}, "af_xdp_packages: found 'clang'", "Write it as a list"),
    "text-in-list": ({"dpdk_packages": [["a"]]}, "dpdk_packages[0]: found ['a']", "expected text"),
    "true-for-text": ({"hugepages_count": True}, "hugepages_count: found true", "put the word in quotes"),
    "slip-in-name": ({"hugepages_cuont": 5}, "hugepages_cuont: ", "did you mean hugepages_count?"),
    "unknown-name": ({"dpdk_speed": 5}, "dpdk_speed: the role dpdk has no such option", "dpdk_packages"),
    "undefined": ({"af_xdp_bpffs": "{{ nosuch }}"}, "af_xdp_bpffs: ", "'nosuch' is undefined"),
    "distribution": (
        {"labkit_host_supported": {"BeOS": "5"}},
        "is not supported",
        "expected BeOS 5 or newer",
    ),
    "no-such-core": (
        {"cpu_isolation_cpus": f"1-{LAST + 1}"},
        f"there is no core {LAST + 1}",
        "Isolate some of",
    ),
    "all-cores": ({"cpu_isolation_cpus": f"0-{LAST}"}, "would be isolated", "leave at least core 0"),
    "no-cores": (
        {"cpu_isolation_cpus": "one, two"},
        "cpu_isolation_cpus: cores 'one, two'",
        'such as "1-3,5"',
    ),
    "core-0": ({"cpu_isolation_cpus": "0"}, "cpu_isolation_cpus: core 0 can't be isolated", "Isolate others"),
    "too-much-memory": (
        {"hugepages_pools": [{"size_kib": 2048, "count": 9999999}]},
        "19999998 MiB are asked for, more than there is",
        "sk for fewer",
    ),
    "no-such-node": (
        {"hugepages_pools": [{"size_kib": 2048, "count": 1, "node": 99}]},
        "1 hugepage of 2 MB on node 99: there is no such node",
        "only ",
    ),
    "odd-pool": (
        {"hugepages_pools": [{"size_kib": 2048, "count": 1, "nodes": 0}]},
        "hugepages_pools[0].nodes: hugepages_pools[0] has no such option",
        "did you mean node?",
    ),
    "no-such-interface": (
        {"nic_tuning_interfaces": [{"name": "data9", "rings": {"rx": 64}}]},
        "nic_tuning_interfaces[0].name: data9: expected the name",
        "There are lo, mgmt1, mgmt0, data1, data0",
    ),
    "way-in": (
        {"af_xdp_interfaces": [{"name": "data0"}, {"name": "mgmt0", "queues": 1}]},
        "af_xdp_interfaces[1].name: mgmt0 is left alone",
        "the default route goes over it",
    ),
    "no-pci-address": (
        {"dpdk_devices": [{"pci": "data0", "driver": "vfio-pci"}]},
        "dpdk_devices[0].pci: data0 is no PCI address",
        "such as 0000:03:00.0",
    ),
    "address-in-base-60": (
        {"dpdk_devices": [{"pci": 180.0, "driver": "vfio-pci"}]},
        "dpdk_devices[0].pci: found 180.0, expected text",
        "put it in quotes",
    ),
    "disk-for-a-nic": (
        {"dpdk_devices": [{"pci": NO_NIC, "driver": "uio_pci_generic"}]},
        f"dpdk_devices[0].pci: {NO_NIC} is not a NIC (PCI class",
        "NIC",
    ),
}
HERE = [
    pytest.param(
        host,
        marks=pytest.mark.skipif(
            host == "disk-for-a-nic" and NO_NIC is None, reason="this machine has no PCI device but NICs"
        ),
    )
    for host in BAD
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run over all of them."""
    folder = tmp_path_factory.mktemp("hosts")
    hosts = {name: {**RIGHT, **variables} for name, (variables, _, _) in BAD.items()} | {"right": RIGHT}
    inventory = folder / "hosts.yml"
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": local}}))
    (folder / "lib").mkdir()
    arguments = (
        "-i",
        str(inventory),
        "--check",
        "--tags",
        "hugepages",
        "--skip-tags",
        "boot",
        "--forks",
        "3",
    )
    done = play(*arguments, playbook="site.yml", lib=folder / "lib", inside=NETWORK)
    assert not list((folder / "lib").iterdir())
    return done


def of_host(done, host):
    """Why the run left this host out."""
    found = re.findall(rf"^fatal: \[{host}\]: FAILED! =>(.*?)(?=^\S)", done.stdout, re.MULTILINE | re.DOTALL)
    return re.sub(r"\s+", " ", found[-1]) if found else ""


@pytest.mark.parametrize("host", HERE)
def test_mistake_is_refused_by_name_with_the_way_out(run, host):
    _, name, way_out = BAD[host]

    assert name in of_host(run, host), run.stderr
    assert way_out in of_host(run, host)
    assert "1 reason why this host can't be provisioned. Nothing was changed." in of_host(run, host)
    assert re.search(rf"^{host} .* changed=0 .* failed=1 ", run.stdout, re.MULTILINE)


def test_mistake_is_reported_with_the_file_it_stands_in(run):
    assert re.search(r"\(/\S+/hosts\.yml:\d+:\d+\)", of_host(run, "word-for-number"))


def test_host_without_a_mistake_goes_on_while_the_others_fail(run):
    assert re.search(r"^right .* failed=0 ", run.stdout, re.MULTILINE), output(run)
    assert re.search(r"^TASK \[hugepages : ", run.stdout, re.MULTILINE)


HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_full_disk_read_only_disk_and_another_apt_are_reported_at_once(tmp_path):
    lock = tmp_path / "dpkg/lock-frontend"
    lock.parent.mkdir()
    (tmp_path / "labkit").mkdir()
    command = [sys.executable, "-c", HOLD, str(lock)]
    trouble = f"""
mount -t tmpfs -o size=1m none /boot
mount --bind {tmp_path} /var/lib
mount --bind /var/lib/labkit /var/lib/labkit
mount -o remount,bind,ro /var/lib/labkit
"""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as apt:
        assert apt.stdout.readline() == b"held\n"
        done = play("--check", "--tags", "hugepages", playbook="site.yml", inside=trouble)
        apt.stdin.close()

    told_here = of_host(done, "localhost")
    assert "3 reasons why this host can't be provisioned. Nothing was changed." in told_here, output(done)
    assert "the disk of /boot is full: 1 MiB are free" in told_here
    assert "/var/lib/labkit can't be written to" in told_here
    assert f"apt is in use: process {apt.pid} (" in told_here


@pytest.fixture
def ordinary_user(tmp_path):
    """An inventory of a host that is reached as an ordinary user, as that host tells it; sudo is what a test writes."""
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'test -n "$AS_ROOT" || become="setpriv --reuid=65534 --regid=65534 --clear-groups"\n'
        'exec $become /usr/bin/python3 "$@"\n'
    )

    def inventory(sudo, more=""):
        (tmp_path / "sudo").write_text(f"#!/bin/sh\n{sudo}\n")
        for program in (python, tmp_path / "sudo"):
            program.chmod(0o755)
        user = (
            f"ansible_python_interpreter={python} ansible_become_exe={tmp_path}/sudo ansible_pipelining=true"
        )
        (tmp_path / "hosts").write_text(
            f"localhost ansible_connection=local {user} hugepages_count=0 {more}\n"
        )
        return str(tmp_path / "hosts")

    return inventory


# Of one user to the same one: Ansible leaves sudo out then, unless it is asked to use it.
SAME_USER = {"ANSIBLE_BECOME_ALLOW_SAME_USER": "true"}


BECOMES = 'echo "$@" >> {log}; while [ "$1" != -u ]; do shift; done; shift 2; export AS_ROOT=yes; exec "$@"'
"""A sudo that lets everybody."""


@pytest.mark.parametrize("become", ["", "ansible_become=true"])
def test_missing_sudo_is_reported_in_plain_words(ordinary_user, become):
    hosts = ordinary_user("echo 'sudo: a password is required' >&2; exit 1", become)

    done = play("-i", hosts, playbook="site.yml", environment=SAME_USER)

    assert "can't become root: sudo: a password is required." in of_host(done, "localhost"), output(done)
    assert "give --ask-become-pass, or connect as root" in output(done)
    assert "Provision the hosts" not in done.stdout


def test_ordinary_user_with_sudo_is_enough(ordinary_user, tmp_path):
    done = play(
        *("-i", ordinary_user(BECOMES.format(log=tmp_path / "log")), "--check", "--tags", "hugepages"),
        playbook="site.yml",
        # Left over from whoever logged in first: what the kernel says counts.
        environment={**SAME_USER, "LOGNAME": "root", "USER": "root"},
    )

    assert done.returncode == 0, output(done)
    assert "-u root" in (tmp_path / "log").read_text()


def test_who_one_is_is_looked_up_and_not_taken_from_facts_that_root_has_cached(ordinary_user, tmp_path):
    hosts = ordinary_user(BECOMES.format(log=tmp_path / "log"))
    (tmp_path / "lib/labkit/state").mkdir(parents=True)
    (tmp_path / "lib/labkit/state").chmod(0o700)  # root's alone, as the roles make it
    fill = tmp_path / "fill.yml"
    fill.write_text("- {hosts: all, become: true, gather_facts: true, tasks: []}\n")
    cached = {
        **SAME_USER,
        "ANSIBLE_GATHERING": "smart",
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "cache"),
    }
    only = ("--tags", "hugepages", "--skip-tags", "boot")

    filled = play("-i", hosts, playbook=str(fill), environment=cached)
    (facts,) = (file.read_text() for file in (tmp_path / "cache").iterdir())
    made, reverted = (
        play("-i", hosts, *only, playbook=playbook, lib=tmp_path / "lib", environment=cached)
        for playbook in ("site.yml", "revert.yml")
    )

    assert filled.returncode == 0, output(filled)
    assert re.search(r'ansible_effective_user_id\\*": 0', facts)
    assert made.returncode == 0, output(made)
    assert reverted.returncode == 0, output(reverted)
    # Ansible-core 2.19 and newer warn so of a temporary folder below a HOME that is root's, and take another one.
    said = re.sub(r"Permission denied: '[^']*/\.ansible'", "", output(made) + output(reverted))
    assert "Permission denied" not in said
