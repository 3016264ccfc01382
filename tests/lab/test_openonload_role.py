"""The role openonload where systemd runs, with stand-ins for Onload and for the kernel's part (onload_stub.py)."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import onload_stub
import pytest
import yaml
from ansible_collections.labkit.host.plugins.module_utils import (
    onload_install,
    onload_remove,
    onload_unit,
    snapshot,
)
from container import CHECKOUT
from systemd_container import systemd_container
from test_site_container import changed

from labkit.doctor.host import openonload

pytestmark = pytest.mark.beside

HERE = ["util-linux"]
"""A package that every machine has: nothing is downloaded."""
FOLDER = "/root/archives"
INTERFACES = [{"name": "port0"}, {"name": "port-1"}]
UNITS = [onload_unit.unit(one["name"]) for one in INTERFACES]
LINKS = """
mkdir -p /lib/modules/6.1.0-1-amd64 /usr/local/lib/python3/dist-packages
ip link add port0 numrxqueues 2 numtxqueues 2 type veth peer name peer0
ip link add port-1 type veth peer name peer1
"""
KERNEL = os.uname().release
COPY = "/var/tmp/labkit-openonload-archive"


class Host:
    """One that systemd runs on, with archives in it."""

    def __init__(self, made, archives):
        self.made = made
        self.archives = archives
        self.runs = 0

    def site(self, version, *words, playbook="site.yml", **more):
        """Run a playbook with these variables."""
        self.runs += 1
        wanted = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "openonload_version": version,
            "openonload_sha256": self.archives.get(version, ""),
            "openonload_url": f"{FOLDER}/{version}.tar.gz",
            "openonload_packages": HERE,
            "openonload_interfaces": INTERFACES if version else [],
            **more,
        }
        inventory = f"/root/hosts-{self.runs}.yml"
        text = yaml.safe_dump({"all": {"hosts": {"localhost": wanted}}})
        self.made.run("sh", "-ec", f'printf %s "$1" >{inventory}', "sh", text)
        tags = "openonload" if playbook == "site.yml" else "openonload,replay"
        done = self.made.play(playbook, Path(inventory), "--tags", tags, *words)
        done.inventory = inventory
        return done

    def stamp(self):
        return json.loads(self.read(onload_install.STAMP))

    def read(self, path):
        return self.made.run("cat", path).stdout

    def answers(self, interface, how):
        """How the kernel answers a registration from now on."""
        self.made.run("sh", "-ec", f"echo {how} >/srv/stand-in/answers/{interface}")

    def active(self):
        return [self.made.run("systemctl", "is-active", unit).stdout.strip() for unit in UNITS]

    def until(self, reached):
        for _ in range(200):
            if reached():
                return
            time.sleep(0.1)
        pytest.fail("did not come to it in 20 s")

    def unload(self):
        assert self.made.run("onload_tool", "unload", "--onload-only").returncode == 0
        assert not self.loaded()

    def log(self, unit):
        return self.made.run("journalctl", "--unit", unit, "--output", "cat").stdout

    def queues(self):
        return len(self.made.run("sh", "-c", "ls -d /sys/class/net/port0/queues/rx-*").stdout.split())

    def files(self):
        """Below what a snapshot of a host leaves to packages."""
        done = self.made.run("find", "/usr", "/lib/modules", "-name", "__pycache__", "-prune", "-o", "-print")
        return sorted(done.stdout.splitlines())

    def earlier_kernel(self, name):
        """What was installed was for another kernel."""
        moved = self.made.run(
            "sh",
            "-ec",
            f"onload_tool unload; mv /lib/modules/{KERNEL}/extra /lib/modules/{name}; "
            f"sed -i 's,/lib/modules/{KERNEL}/,/lib/modules/{name}/,' {onload_remove.MANIFEST}; "
            f"sed -i 's/{KERNEL}/{name}/' {onload_install.STAMP}; "
            f"sed -i 's,/lib/modules/{KERNEL}/extra,/lib/modules/{name}/extra,' /var/lib/labkit/state/openonload.json",
        )
        assert moved.returncode == 0, moved.stderr

    def loaded(self):
        return self.made.run("test", "-d", "/sys/module/sfc_resource").returncode == 0


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    place = tmp_path_factory.mktemp("archives")
    archives = {
        version: onload_stub.archive(place / f"{version}.tar.gz", version=version)
        for version in ("9.2.1", "10.0.0", "9.0.2")
    }
    kernel = tmp_path_factory.mktemp("kernel")
    onload_stub.kernel(kernel)
    with systemd_container(tmp_path_factory.mktemp("container")) as made:
        made.put(place, FOLDER)
        made.put(kernel, "/srv/stand-in")
        ready = made.run("sh", "-ec", onload_stub.SET_UP + LINKS)
        assert ready.returncode == 0, ready.stderr
        yield Host(made, archives)


def ended_well(done):
    assert done.returncode == 0, done.stdout[-4000:]
    return done


@pytest.fixture(scope="module")
def before(host):
    return host.made.snapshot()


@pytest.fixture(scope="module")
def files(host, before):
    return host.files()


@pytest.fixture(scope="module")
def made(host, before, files):
    """Onload is installed, and the interfaces are registered. The tests leave it so."""
    assert before
    predicted = ended_well(host.site("9.2.1", "--check"))
    assert not host.loaded()
    runs = predicted, ended_well(host.site("9.2.1")), ended_well(host.site("9.2.1"))
    assert host.active() == ["active", "active"]
    return runs


def test_check_mode_foretells_what_a_run_then_changes_and_a_second_run_changes_nothing(host, made):
    predicted, first, second = made

    assert changed(predicted) == changed(first)
    assert changed(second) == []
    assert host.read("/srv/stand-in/builds").split() == [KERNEL, "9.2.1"]
    assert host.stamp()["version"] == "9.2.1"
    assert list(host.stamp()["kernels"]) == [KERNEL]


def test_interfaces_are_registered_with_one_queue_and_the_options_in_effect(host, made):
    registered = [json.loads(host.read(f"/run/labkit-onload/{one['name']}.json")) for one in INTERFACES]
    assert [(one["interface"], one["generic"]) for one in registered] == [("port0", False), ("port-1", False)]
    assert host.read("/sys/module/sfc_resource/parameters/enable_af_xdp_flow_filters").strip() == "0"
    assert host.queues() == 1


def test_each_fault_is_detected_by_its_host_check(host, made):
    words = ("python", "-m", "tests.infra.fault_injection", "--host", "localhost", "-i", made[1].inventory)

    done = host.made.run(
        "env",
        f"PYTHONPATH={CHECKOUT}",
        "sh",
        "-c",
        'cd "$0" && exec "$@"',
        str(CHECKOUT),
        *words,
        *("-k", "^openonload"),
    )

    verdicts = re.findall(r"^(\w+) +openonload\.(\w+)", done.stdout, re.MULTILINE)
    assert {verdict for verdict, _ in verdicts} == {"detected"}, done.stdout + done.stderr
    assert {name for _, name in verdicts} == {check.id.partition(".")[2] for check in openonload.HOST_CHECKS}
    assert done.returncode == 0
    assert host.active() == ["active", "active"]


def test_registration_at_boot_that_is_unsound_unloads_onload_at_once(host, made):
    """The unit alone, as at a boot: nobody is there to see its failure."""
    host.unload()
    host.answers("port0", "unsound")

    done = host.made.run("systemctl", "restart", UNITS[0])

    assert done.returncode != 0
    assert not host.loaded()
    assert "not registered soundly, and Onload was unloaded" in host.log(UNITS[0])
    assert "hardware init failed rc=-1" in host.log(UNITS[0])
    host.answers("port0", "native")
    assert host.made.run("systemctl", "restart", *UNITS).returncode == 0
    assert host.loaded()


def test_writer_that_was_killed_before_it_judged_the_log_has_onload_unloaded_first(host, made):
    host.unload()
    host.answers("port0", "silent")
    host.made.run("systemctl", "restart", "--no-block", UNITS[0])
    host.until(lambda: host.made.run("test", "-e", "/run/labkit-onload/port0.pending").returncode == 0)
    host.made.run("systemctl", "kill", "--signal=KILL", UNITS[0])
    host.until(lambda: host.active()[0] == "failed")
    assert host.loaded()
    loads = host.read("/srv/stand-in/kernel").splitlines().count("loaded")

    host.answers("port0", "native")
    done = host.made.run("systemctl", "restart", *UNITS)

    assert done.returncode == 0
    assert host.read("/srv/stand-in/kernel").splitlines().count("loaded") == loads + 1
    assert host.active() == ["active", "active"]


def test_upgrade_whose_registration_is_unsound_is_reported_and_onload_unloaded(host, made):
    host.answers("port-1", "unsound")
    failed = host.site("10.0.0")

    assert failed.returncode != 0
    output = re.sub(r"\s+", " ", failed.stdout)
    assert "port-1 was not registered soundly, and Onload was unloaded" in output, failed.stdout[-3000:]
    assert "hardware init failed rc=-1" in output
    assert not host.loaded()
    assert host.stamp()["version"] == "10.0.0"


def test_interface_that_is_no_longer_asked_for_is_taken_out_and_nothing_is_built_again(host, made):
    """Whatever ran before: 10.0.0 is installed, and port-1 is not registered then."""
    ended_well(host.site("10.0.0", openonload_interfaces=INTERFACES[:1]))

    assert host.active()[0] == "active"
    assert host.made.run("systemctl", "is-enabled", UNITS[1]).stdout.strip() == "disabled"
    assert [Path(one).stem for one in host.made.run("ls", "/run/labkit-onload").stdout.split()] == ["port0"]
    assert host.stamp()["version"] == "10.0.0"
    assert host.made.run("ls", "/opt/openonload").stdout.split() == ["10.0.0"]
    assert host.read("/srv/stand-in/builds").split() == [KERNEL, "9.2.1", KERNEL, "10.0.0"]
    host.answers("port-1", "native")


def test_host_is_as_it_was_once_it_is_reverted(host, before, files, made):
    host.made.run("touch", COPY)  # of a run that was killed

    ended_well(host.site("", playbook="revert.yml"))

    assert snapshot.compare(before, host.made.snapshot()) == []
    assert host.files() == files
    assert not host.loaded()
    assert host.queues() == 2
    assert "onload" not in host.read("/etc/passwd") + host.read("/etc/group")


@pytest.fixture(scope="module")
def again(host, made):
    """It is installed, after the revert. The tests leave it so."""
    return ended_well(host.site("9.2.1"))


@pytest.mark.long
def test_new_kernel_gets_modules_alone(host, again):
    """As on a host that was installed for a kernel before, and has booted this one."""
    host.earlier_kernel("6.1.0-1-amd64")

    done = ended_well(host.site("9.2.1"))

    assert any("Build and install it" in name for name in changed(done))
    assert sorted(host.stamp()["kernels"]) == ["6.1.0-1-amd64", KERNEL]
    assert host.made.run("test", "-e", "/lib/modules/6.1.0-1-amd64/extra/onload.ko").returncode == 0
    assert host.active() == ["active", "active"]
    assert changed(ended_well(host.site("9.2.1"))) == []


REFUSED = (
    ("9.2.1", {"openonload_sha256": ""}, "openonload_sha256 is empty, and openonload_version is 9.2.1"),
    (
        "10.0.0",
        {"openonload_sha256": "0" * 64},
        "openonload_url: /root/archives/10.0.0.tar.gz: expected sha256 0000",
    ),
    ("10.0.0", {"openonload_url": ""}, "both openonload_url and openonload_archive are empty"),
    ("10.0.0", {"openonload_archive": "/root/gone.tar.gz"}, "there is no such file where Ansible runs"),
    ("9.0.2", {}, "Onload 9.0.2 is for kernels 5.11 to 6.9, and this one is"),
    ("9.2.1", {"openonload_interfaces": [{"name": "lo"}]}, "lo is a loopback interface"),
    (
        "9.2.1",
        {"openonload_interfaces": [{"name": "port9"}]},
        "openonload_interfaces[0].name: port9: expected the name",
    ),
    ("9.2.1", {"openonload_interfaces": [{"nmae": "port0"}]}, "did you mean name?"),
    ("9.2.1", {"openonload_interfaces": [*INTERFACES, *INTERFACES]}, "port0 is named twice"),
    (
        "9.2.1",
        {"labkit_host_management_interfaces": ["port0"]},
        "openonload_interfaces[0].name: port0 is left alone",
    ),
    ("9.2.1", {"openonload_state": "gone"}, "openonload_state"),
    (
        "",
        {"openonload_interfaces": INTERFACES},
        "openonload_interfaces is set, and openonload_version is empty",
    ),
)


@pytest.mark.long
@pytest.mark.parametrize(("version", "more", "expected"), REFUSED)
def test_bad_input_is_reported_and_changes_nothing(host, again, version, more, expected):
    before = host.stamp(), host.active(), host.made.run("ls", "/opt/openonload").stdout

    done = host.site(version, **more)

    assert done.returncode != 0
    output = re.sub(r"\s+", " ", done.stdout)
    assert expected in output, done.stdout[-3000:]
    assert "Nothing was changed" in output
    assert (host.stamp(), host.active(), host.made.run("ls", "/opt/openonload").stdout) == before


@pytest.mark.long
def test_archive_of_another_version_than_is_named_is_refused_before_it_is_built(host, again):
    host.archives["10.0.0-1"] = host.archives["9.2.1"]
    builds = host.read("/srv/stand-in/builds")

    done = host.site("10.0.0-1", openonload_url=f"{FOLDER}/9.2.1.tar.gz")

    assert done.returncode != 0
    assert "versions.env in the archive says 9.2.1" in re.sub(r"\s+", " ", done.stdout)
    assert host.read("/srv/stand-in/builds") == builds
    assert host.active() == ["active", "active"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("fails", "expected", "left"),
    [
        ("build-fails", "onload_build: ERROR: Failed to build driver components.", True),
        ("install-fails", "onload_install: FAILED: install -D -m 644 onload.ko", False),
    ],
)
def test_upgrade_that_fails_is_reported_with_its_last_lines_and_made_by_the_next_run(
    host, again, fails, expected, left
):
    """A build that fails leaves what is installed; of an installation that fails nothing is left."""
    host.made.run("touch", f"/srv/stand-in/{fails}")
    failed = host.site("10.0.0")
    host.made.run("rm", f"/srv/stand-in/{fails}")

    assert failed.returncode != 0
    assert expected in re.sub(r"\s+", " ", failed.stdout), failed.stdout[-3000:]
    assert host.loaded() == left
    assert (host.made.run("test", "-e", onload_remove.MANIFEST).returncode == 0) == left
    ended_well(host.site("10.0.0"))
    assert host.stamp()["version"] == "10.0.0"
    ended_well(host.site("9.2.1"))


@pytest.mark.long
def test_modules_in_use_are_not_taken_from_a_program(host, again):
    host.made.run("sh", "-ec", "mount -t tmpfs none /proc/driver && mkdir /proc/driver/onload")
    host.made.run("sh", "-ec", "echo '0: name=bench pid=4711' >/proc/driver/onload/stacks")

    done = host.site("9.2.1", openonload_flow_filters=True)

    assert done.returncode != 0
    output = re.sub(r"\s+", " ", done.stdout)
    assert "1 stacks are alive after 75 s (0: name=bench pid=4711). End the programs" in output, output[
        -2000:
    ]
    assert host.active() == ["active", "active"]
    assert host.read("/sys/module/sfc_resource/parameters/enable_af_xdp_flow_filters").strip() == "0"
    host.made.run("umount", "/proc/driver")
    ended_well(host.site("9.2.1", openonload_flow_filters=True))
    assert host.read("/sys/module/sfc_resource/parameters/enable_af_xdp_flow_filters").strip() == "1"
    assert host.active() == ["active", "active"]
    ended_well(host.site("9.2.1"))


@pytest.mark.long
def test_nic_without_native_xdp_is_unloaded_at_once_and_registered_once_the_helper_is_asked_for(host, again):
    host.answers("port0", "generic")
    host.unload()

    failed = host.site("9.2.1")

    assert failed.returncode != 0
    assert "it has no native XDP, and no bpf-link-helper is set" in re.sub(r"\s+", " ", failed.stdout)
    assert not host.loaded()

    ended_well(host.site("9.2.1", openonload_generic_xdp=True))

    assert json.loads(host.read("/run/labkit-onload/port0.json"))["generic"]
    assert host.read("/sys/module/sfc_resource/parameters/bpf_link_helper").strip() == onload_unit.HELPER
    host.answers("port0", "native")
    ended_well(host.site("9.2.1"))


@pytest.mark.long
def test_onload_of_somebody_else_is_left_alone(host, again):
    ended_well(host.site("9.2.1", openonload_state="absent"))
    assert not host.loaded()
    host.made.run(
        "sh", "-ec", "mkdir -p /usr/libexec/onload; echo /usr/libexec/onload >" + onload_remove.MANIFEST
    )

    done = host.site("9.2.1")

    assert done.returncode != 0
    assert "Onload is installed here already, and not by labkit" in re.sub(r"\s+", " ", done.stdout)
    assert host.read(onload_remove.MANIFEST) == "/usr/libexec/onload\n"
    host.made.run("rm", "-r", "/usr/libexec/onload")
    ended_well(host.site("9.2.1"))


@pytest.mark.long
def test_archive_that_came_built_from_where_ansible_runs_is_not_built_again(host, again):
    host.made.run(
        "sh",
        "-ec",
        f"mkdir /root/built; tar -xzC /root/built -f {FOLDER}/10.0.0.tar.gz; "
        "/root/built/onload-10.0.0/scripts/onload_build --no-sfc; "
        "tar -czC /root/built -f /root/built.tar.gz onload-10.0.0",
    )
    builds = host.read("/srv/stand-in/builds")
    sha256 = host.made.run("sha256sum", "/root/built.tar.gz").stdout.split()[0]

    ended_well(host.site("10.0.0", openonload_archive="/root/built.tar.gz", openonload_sha256=sha256))

    assert host.stamp()["version"] == "10.0.0"
    assert host.read("/srv/stand-in/builds") == builds
    assert host.made.run("ls", COPY).returncode != 0


@pytest.mark.long
def test_host_is_as_it_was_after_all_that(host, before, files, again):
    ended_well(host.site("9.2.1", openonload_state="absent"))
    ended_well(host.site("", playbook="revert.yml"))

    assert snapshot.compare(before, host.made.snapshot()) == []
    assert host.files() == files
