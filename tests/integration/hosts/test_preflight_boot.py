"""A kernel or command line that can't be had on a host is reported before anything is changed."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import preflight_boot
from ansible_collections.labkit.host.plugins.module_utils.boot_commands import CommandFailed
from ansible_collections.labkit.host.plugins.module_utils.grub import Grub
from boot_host import RT, Host


@pytest.mark.parametrize("running", [True, False])
def test_users_own_list_of_other_cores_is_reported(tmp_path, running):
    host = Host(tmp_path)
    host.write("etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="isolcpus=1-2 nohz_full=1-2"\n')
    host.run(["update-grub"])
    if running:
        host.boot()

    [problem] = preflight_boot.problems({"cpu_isolation_cpus": "2"}, tmp_path, host.run)

    assert "isolcpus=1-2 is there beside isolcpus=2, and of two lists the kernel keeps the first" in problem
    assert "nohz_full=1-2 is there beside" in problem
    assert "Take it out of /etc/default/grub" in problem
    assert list(preflight_boot.problems({"cpu_isolation_cpus": "1,2"}, tmp_path, host.run)) == []
    assert list(preflight_boot.problems({}, tmp_path, host.run)) == []


def test_machine_that_ansible_runs_on_itself_is_not_made_to_reboot(tmp_path):
    host = Host(tmp_path)
    wanted = {"cpu_isolation_cpus": "1"}

    [problem] = preflight_boot.problems(wanted, tmp_path, host.run, not_here=True)

    assert (
        "(cores 1 are not isolated): it takes a reboot, and Ansible runs on this machine itself." in problem
    )
    assert "over SSH, use local.yml, or" in problem
    assert list(preflight_boot.problems(wanted, tmp_path, host.run)) == []
    assert list(preflight_boot.problems({}, tmp_path, host.run, not_here=True)) == []


@pytest.mark.parametrize(
    "error",
    [
        CommandFailed("grub-probe --target=fs: failed to get canonical path of `overlay'"),
        PermissionError(13, "Permission denied", "/boot/grub/grub.cfg"),
    ],
    ids=["overlay", "ordinary user"],
)
def test_what_cannot_be_looked_at_is_reported_once_and_beside_the_rest(tmp_path, monkeypatch, error):
    def closed(*_):
        raise error

    host = Host(tmp_path)
    (tmp_path / "run/systemd/system/there").unlink()
    (tmp_path / "run/systemd/system").rmdir()
    if isinstance(error, CommandFailed):
        monkeypatch.setattr(host, "_grub_probe", closed)
    else:
        monkeypatch.setattr(Grub, "_menu", closed)
    wanted = {"lowlatency_kernel_release": "6.99", "cpu_isolation_cpus": "1"}

    problems = list(preflight_boot.problems(wanted, tmp_path, host.run))

    assert len(problems) == 3
    assert "no kernel 6.99 is installed" in problems[0]
    assert f"can't be determined ({error}). That takes root's rights" in problems[1]
    assert "PID 1 is not systemd" in problems[2]


@pytest.mark.parametrize(
    ("wanted", "installs"),
    [
        ({"lowlatency_kernel_flavour": "rt"}, True),
        ({"lowlatency_kernel_flavour": "rt", "lowlatency_kernel_release": RT}, False),
        ({"lowlatency_kernel_preempt": "full"}, False),
        ({"cpu_isolation_cpus": "2"}, False),
    ],
)
def test_room_for_a_kernel_is_asked_only_where_one_is_installed(tmp_path, monkeypatch, wanted, installs):
    host = Host(tmp_path)
    host.add_kernel(RT)
    monkeypatch.setattr(preflight_boot.preflight, "room_for_kernel", lambda _: iter(["no room"]))

    problems = list(preflight_boot.problems(wanted, tmp_path, host.run))

    assert any(problem.endswith(": no room") for problem in problems) == installs
