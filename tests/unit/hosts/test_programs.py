"""Programs of the administrator are found also where nobody's PATH has them."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    accounts,
    boot_commands,
    drivers,
    ethtool_groups,
    links,
    package_manager,
    probe,
)


@pytest.mark.parametrize(
    "call",
    [
        lambda: links._ip("link"),
        lambda: ethtool_groups.run(["ethtool", "-k", "data0"]),
        lambda: drivers.missing("nosuch-pci"),
        lambda: boot_commands.run(["update-grub"]),
        lambda: package_manager.run("dpkg", "--audit"),
        lambda: probe._setcap("-v", "cap_net_raw=ep", "/bin/true"),
        lambda: accounts._run(["groupadd", "labkit"], accounts.Path("/")),
    ],
)
def test_path_of_a_plain_su_is_completed(monkeypatch, call):
    asked = []

    def run(command, *, env, **_):
        asked.append(env["PATH"].split(":"))
        return subprocess.CompletedProcess(command, 0, "[]", "")

    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/games")
    monkeypatch.setattr(subprocess, "run", run)

    call()

    assert asked == [["/usr/local/bin", "/usr/bin", "/bin", "/usr/games", "/usr/sbin", "/sbin"]]
    assert os.environ["PATH"] == "/usr/local/bin:/usr/bin:/bin:/usr/games"
