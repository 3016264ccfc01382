"""File systems that a role mounts, in a mount namespace with notes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside

ANSIBLE = Path(__file__).parents[2] / "ansible"


SAID = "changed: (true|false)|found ramfs: left alone"


@pytest.fixture
def inside(tmp_path):
    """Runs shell lines with notes of its own and $there an empty folder; returns what they print."""
    for name in ("lib", "there"):
        (tmp_path / name).mkdir()

    def run(lines: str) -> list[str]:
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "there": str(tmp_path / "there"),
        }
        # Only our own notes are hidden: apt must see what is installed.
        script = f"""mkdir -p /var/lib/labkit
            mount --bind {tmp_path}/lib /var/lib/labkit
            module() {{ ansible localhost -m labkit.host.$1 -a "$2" $3 | tr -s ' \\n' ' ' | grep -oE '{SAID}' || :; }}
            type() {{ findmnt -no FSTYPE --mountpoint $there || echo nothing; }}
            {lines}"""
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    yield run
    for folder in (Path("/var/lib/labkit/state"), Path("/var/lib/labkit")):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


MOUNT = 'module mount "role=try path=$there fstype=tmpfs source=tmpfs options=size=1m"'


def test_missing_file_system_is_mounted_once_and_unmounted_again(inside, tmp_path):
    output = inside(f"{MOUNT} --check; type; {MOUNT}; type; {MOUNT}; module revert role=try; type")

    assert output == [
        "changed: true", "nothing", "changed: true", "tmpfs", "changed: false", "changed: true", "nothing",
    ]  # fmt: skip
    assert list((tmp_path / "lib").iterdir()) == []


def test_other_file_system_at_that_place_is_left_alone(inside, tmp_path):
    output = inside(f"mount -t ramfs ramfs $there; {MOUNT}; type")

    assert set(output) == {"changed: false", "found ramfs: left alone", "ramfs"}
    assert list((tmp_path / "lib").iterdir()) == []


def test_what_was_mounted_after_a_reboot_is_not_ours_to_unmount(inside):
    output = inside(
        f'{MOUNT}; sed -i \'s/"boot": ".*"/"boot": "another"/\' /var/lib/labkit/state/try.json; '
        "module revert role=try; type; ls /var/lib/labkit"
    )

    assert output == ["changed: true", "changed: true", "tmpfs"]


def test_bpf_file_system_is_mounted_by_its_role(inside):
    playbook = f"ansible-playbook {ANSIBLE}/local.yml -e ansible_become=false --tags bpffs | grep -oE 'changed=[0-9]+'"
    output = inside(
        "while umount /sys/fs/bpf 2>/dev/null; do :; done; "
        f"{playbook}; {playbook}; findmnt -no FSTYPE --mountpoint /sys/fs/bpf; ls /var/lib/labkit/state"
    )

    assert output == ["changed=1", "changed=0", "bpf", "af_xdp.json"]
