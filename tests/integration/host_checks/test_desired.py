"""The desired state of a host, worked out by Ansible: precedence, templates, mistakes with place, connection."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from cases import CASES
from fakes import FakeReader

from labkit.cli import main
from labkit.doctor.host import HOST_CHECKS, connect, doctor
from labkit.doctor.host.desired import hosts, of_file, of_inventory, work_out
from labkit.doctor.host.doctor import source
from labkit.errors import ConfigInvalid, EnvironmentBroken
from labkit.machine import roles

INVENTORY = """
all:
  hosts:
    dut:
      ansible_host: 198.18.0.1
      ansible_port: 2222
      ansible_user: lab
      ansible_ssh_private_key_file: "{{ inventory_dir }}/key"
      ansible_ssh_common_args: -o UserKnownHostsFile=/dev/null
      hugepages_count: 256
    tester:
      hugepages_minimum: many
      hugepages_cuont: 3
  vars:
    cpu_isolation_cpus: "1-{{ last_core }}"
    last_core: 3
    hugepages_count: 0
"""


@pytest.fixture
def inventory(tmp_path) -> Path:
    folder = tmp_path / "inventory"
    (folder / "host_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(INVENTORY)
    (folder / "host_vars" / "dut.yml").write_text("labkit_host_develop: yes\n")
    return folder / "hosts.yml"


def test_variables_of_a_host_go_over_those_of_its_group_and_the_roles_defaults(inventory):
    desired = work_out(of_inventory("dut", inventory))

    assert desired["hugepages_count"] == "256"  # text, by the role's specification
    assert desired["labkit_host_develop"] is True
    assert desired["cpu_isolation_cpus"] == "1-3"
    assert desired["hugepages_minimum"] == 128
    assert desired["af_xdp_bpffs"] == "/sys/fs/bpf"
    fix = desired.fix("hugepages")
    assert fix.startswith(f"ansible-playbook -i {inventory} ")
    assert fix.endswith("ansible/site.yml --limit dut --tags hugepages")
    assert desired.connection["ansible_ssh_private_key_file"] == f"{inventory.parent}/key"
    assert (desired.connection["ansible_host"], desired.connection["ansible_port"]) == ("198.18.0.1", 2222)


def test_what_roles_read_from_the_host_first_is_given_to_them(inventory):
    source = of_inventory("dut", inventory)
    before = work_out(source)
    after = work_out(source, facts={"cpu_isolation_present": "0-3"})

    assert after["boot_arguments"][:2] == ["isolcpus=managed_irq,domain,1-3", "nohz_full=1-3"]
    assert "irqaffinity=0" in after["boot_arguments"]
    with pytest.raises(
        ConfigInvalid, match=r"dut: boot_arguments can't be worked out: .*cpu_isolation_present"
    ):
        before["boot_arguments"]


@pytest.mark.parametrize(
    ("low_latency", "lists"), [("[rcu_nocbs=all]", []), ("[preempt=full]", ["rcu_nocbs=1-3"])]
)
def test_list_of_cores_does_not_undo_what_the_low_latency_kernel_has_for_all(inventory, low_latency, lists):
    extra = f"lowlatency_kernel_boot_arguments: {low_latency}\n"
    (inventory.parent / "host_vars/dut.yml").write_text(extra)

    found = work_out(of_inventory("dut", inventory), facts={"cpu_isolation_present": "0-3"})

    assert [word for word in found["cpu_isolation_boot_arguments"] if word.startswith("rcu_nocbs")] == lists
    assert found["boot_arguments"].count("rcu_nocbs=all") == (not lists)


def test_every_mistake_is_reported_with_its_place(inventory):
    with pytest.raises(ConfigInvalid) as raised:
        work_out(of_inventory("tester", inventory))

    message = str(raised.value)
    assert "hugepages_cuont: the role hugepages has no such option: did you mean hugepages_count?" in message
    assert "hugepages_minimum: found 'many', expected a whole number" in message
    assert f"{inventory}:12" in message
    assert f"{inventory}:13" in message


@pytest.mark.parametrize("name", ["nobody", "all"])
def test_host_that_the_inventory_has_not_is_refused(inventory, name):
    with pytest.raises(
        ConfigInvalid, match=rf"'{name}' is no host of .*hosts\.yml\n  hint: its hosts: ansible-inv"
    ):
        work_out(of_inventory(name, inventory))


def test_the_hint_for_a_host_that_is_nowhere_can_be_pasted(inventory, tmp_path):
    second = tmp_path / "second one.yml"
    second.write_text("all:\n  hosts:\n    other:\n")
    with pytest.raises(ConfigInvalid) as caught:
        work_out(of_inventory("nobody", inventory, second))
    command = str(caught.value.hint).removeprefix("its hosts: ")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "other" in done.stdout


def test_inventory_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigInvalid, match=r"none\.yml: no such inventory"):
        of_inventory("dut", tmp_path / "none.yml")

    (tmp_path / "bad.yml").write_text("all:\n  hosts:\n   dut:\n  vars: [\n")
    with pytest.raises(
        ConfigInvalid, match=r"bad\.yml: Ansible can't work it out:(.|\n)*YAML parsing failed"
    ):
        work_out(of_inventory("dut", tmp_path / "bad.yml"))
    with pytest.raises(ConfigInvalid, match=r"bad\.yml: no hosts in it"):
        hosts(str(tmp_path / "bad.yml"))


def test_all_hosts_of_an_inventory(inventory):
    assert hosts(str(inventory)) == ["dut", "tester"]


def test_file_of_variables_is_a_desired_state(tmp_path):
    file = tmp_path / "desired.yml"
    file.write_text("hugepages_count: '4'\n")

    desired = work_out(of_file("lab@198.18.0.1:2222", file))

    assert desired["hugepages_count"] == "4"
    assert desired.connection["ansible_host"] == "198.18.0.1"
    assert desired.connection["ansible_user"] == "lab"
    assert desired.connection["ansible_port"] == 2222
    way = "-i 198.18.0.1, -e ansible_user=lab -e ansible_port=2222"
    assert f"ansible-playbook {way} -e @{file} " in desired.fix("hugepages")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "hugepages_count: '4'\nhugepages_count: '5'\n",
            r"desired\.yml:2: duplicate key 'hugepages_count'",
        ),
        ("- hugepages_count\n", r"desired\.yml:1: expected a mapping of variables"),
        ("", r"desired\.yml:1: expected a mapping, got an empty file"),
        ("a: [\n", r"desired\.yml:2: expected YAML"),
    ],
)
def test_file_that_is_none_is_refused_with_its_line(tmp_path, text, error):
    file = tmp_path / "desired.yml"
    file.write_text(text)

    with pytest.raises(ConfigInvalid, match=error):
        of_file("localhost", file)


def test_address_that_is_none_is_refused(tmp_path):
    file = tmp_path / "desired.yml"
    file.write_text("hugepages_count: '4'\n")

    with pytest.raises(
        ConfigInvalid, match=r"host 'dut:ssh'.*\n.*hint: expected localhost or \[USER@\]ADDRESS"
    ):
        of_file("dut:ssh", file)


def test_command_for_this_machine_runs_the_role_that_it_names(tmp_path):
    file = tmp_path / "desired.yml"
    file.write_text("hugepages_count: '0'\n")
    plays = yaml.safe_load((roles.folder() / "local.yml").read_text())
    local = {role["role"] for play in plays for role in play.get("roles", ())} - {"probe"}

    desired = work_out(of_file("localhost", file))
    fix = {check.role: desired.fix(check.role) for check in HOST_CHECKS}

    assert {role for role, command in fix.items() if "apply-local" in command} == local
    inventory = roles.folder() / "inventory/local.yml"
    for role in fix.keys() - local:
        assert f"-e @{file}" in fix[role]
        assert f"-i {os.path.relpath(inventory)} " in fix[role] or f"-i {inventory} " in fix[role]
        assert fix[role].endswith(f"site.yml --tags {role}")


def test_later_inventory_overrides_an_earlier_one_as_ansible_has_it(inventory, tmp_path):
    other = tmp_path / "other folder.yml"
    other.write_text("all: {hosts: {dut: {cpu_isolation_cpus: '2', hugepages_count: '256'}, third: {}}}\n")

    source = of_inventory("dut", inventory, other)
    desired = work_out(source)

    assert (desired["cpu_isolation_cpus"], desired["hugepages_count"]) == ("2", "256")
    assert desired.connection["ansible_host"] == "198.18.0.1"
    assert f"-i {inventory} -i '{other}' " in desired.fix("hugepages")
    assert hosts(str(inventory), str(other)) == ["dut", "tester", "third"]
    with pytest.raises(ConfigInvalid, match=r"none.yml: no such inventory"):
        of_inventory("dut", inventory, tmp_path / "none.yml")


def test_all_inventories_that_are_given_reach_the_check(monkeypatch, inventory, tmp_path):
    asked = []
    monkeypatch.setattr(doctor, "run", lambda where: asked.append(where) or [])
    (tmp_path / "two.yml").write_text("all: {hosts: {dut: {}}}\n")

    main(
        [
            "doctor",
            "--host",
            "dut",
            "-i",
            str(inventory),
            "--inventory",
            str(tmp_path / "two.yml"),
            "-i",
            "dut,",
        ]
    )

    assert asked[0].options == ("-i", str(inventory), "-i", str(tmp_path / "two.yml"), "-i", "dut,")


@pytest.mark.parametrize("option", ["--host", "--desired"])
def test_option_of_one_value_is_not_taken_twice(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--host", "dut", option, "one", option, "two"])

    assert ended.value.code == 2
    assert f"{option} is given twice" in capsys.readouterr().err


def test_roles_that_are_nowhere_are_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(roles, "__file__", str(tmp_path / "labkit/machine/roles.py"))

    with pytest.raises(EnvironmentBroken, match="the Ansible roles are neither in"):
        roles.folder()


def test_other_host_needs_an_inventory_or_a_file_of_variables():
    with pytest.raises(ConfigInvalid, match="no configuration is given for dut"):
        source("dut", inventory=None, desired=None)


def test_way_to_a_host_is_the_one_of_the_inventory(inventory, tmp_path, monkeypatch):
    # An ssh that writes down how it was called, and runs the command here.
    called = tmp_path / "called"
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{called}\nfor last; do :; done\nexec /bin/sh -c "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "false")
    if os.geteuid() != 0:
        pytest.skip("the host is looked at as root")

    with connect.opened(of_inventory("dut", inventory)) as (reader, desired):
        release = reader.look(files=["/proc/sys/kernel/osrelease"]).text("/proc/sys/kernel/osrelease")
        assert "isolcpus=managed_irq,domain,1-3" in desired["boot_arguments"]

    assert release == os.uname().release
    line = called.read_text().splitlines()[0]
    for word in (
        "-o UserKnownHostsFile=/dev/null",
        "-o StrictHostKeyChecking=no",
        "-o User=lab",
        "-o Port=2222",
        f"-i {inventory.parent}/key",
        "-o BatchMode=yes",
        "-o ControlMaster=auto",
        " 198.18.0.1 ",
    ):
        assert word in line, line


def test_ssh_that_fails_is_reported(inventory, tmp_path, monkeypatch, capsys):
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'lab@198.18.0.1: Permission denied (publickey).' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    assert main(["doctor", "--host", "dut", "-i", str(inventory)]) == 3

    assert "dut cannot be reached: lab@198.18.0.1: Permission denied" in capsys.readouterr().err


def test_every_variable_that_a_host_check_reads_has_a_default_of_a_role():
    desired = work_out(
        source("localhost", inventory=None, desired=None), facts={"cpu_isolation_present": "0-3"}
    )

    for one in HOST_CHECKS:
        one.check(FakeReader(), desired)
    for case in CASES.values():
        assert {name for name in {*case.wanted, *case.unwanted} if name not in desired.values} == set()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--host", "dut"], "no configuration is given for dut"),
        (["--host", "dut", "-i", "none.yml"], "none.yml: no such inventory"),
        (["--host", "dut", "--desired", "none.yml"], "none.yml: No such file or directory"),
        (["-i", "none.yml"], "hint: name the host: labkit doctor --host H"),
    ],
)
def test_doctor_refuses_bad_input_before_it_reads_a_host(arguments, error, capsys):
    assert main(["doctor", *arguments]) == 2

    assert error in capsys.readouterr().err
