"""Role hugepages on this machine: pages of 2 MB on a node, and mounts of them; all is given back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ANSIBLE = Path(__file__).parents[2] / "ansible"
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
NODE0 = Path("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages")
pytestmark = pytest.mark.skipif(
    not NODE0.exists(),
    reason="no hugepages of 2 MB on node 0: a kernel with CONFIG_HUGETLBFS and CONFIG_NUMA has them",
)


@pytest.fixture
def inside(tmp_path):
    """Runs shell lines in a mount namespace with notes of its own; `role` and `revert` play the role's tasks."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "there").mkdir()
    for name in ("main", "revert"):
        (tmp_path / f"{name}.json").write_text(
            json.dumps(
                [
                    {
                        "hosts": "localhost",
                        "gather_facts": False,
                        "tasks": [{"ansible.builtin.import_role": {"name": "hugepages", "tasks_from": name}}],
                    }
                ]
            )
        )

    def run(wanted: dict[str, object], lines: str) -> list[str]:
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "there": str(tmp_path / "there"),
            "wanted": json.dumps({"replay_enabled": False, **wanted}),
        }
        script = f"""mount --bind {tmp_path}/lib /var/lib
            play() {{ ansible-playbook {tmp_path}/$1.json -e "$wanted" $2 $3 2>&1 |
                grep -oE 'changed=[0-9]+|"msg": .*' || :; }}
            role() {{ play main "$@"; }}
            revert() {{ play revert; }}
            {lines}"""
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    before = POOL.read_text()
    yield run
    if POOL.read_text() != before:  # a test that broke off: the machine's pages are not ours to keep
        POOL.write_text(before)


def pages(count: int) -> dict[str, object]:
    return {"hugepages_pools": [{"size_kib": 2048, "count": count, "node": 0}]}


def test_pages_of_a_node_are_granted_once_and_given_back(inside, tmp_path):
    before, here = int(POOL.read_text()), int(NODE0.read_text())
    output = inside(
        pages(here + 16),
        f"role --check; cat {NODE0}; role; cat {NODE0}; role; cat {NODE0}; revert; cat {NODE0}",
    )

    assert output == [
        *("changed=1", str(here)),
        *("changed=1", str(here + 16)),
        *("changed=0", str(here + 16)),
        *("changed=1", str(here)),
    ]
    assert int(POOL.read_text()) == before
    assert list((tmp_path / "lib").iterdir()) == []


def test_pool_that_is_taken_out_of_the_list_is_given_back(inside):
    here = int(NODE0.read_text())
    output = inside(
        pages(here + 16),
        f"""role; cat {NODE0}
            wanted='{{"replay_enabled": false, "hugepages_count": 0}}'; role; cat {NODE0}; role""",
    )

    assert output == ["changed=1", str(here + 16), "changed=1", str(here), "changed=0"]


def test_mount_is_for_its_group_and_goes_again_with_its_folders(inside):
    group, gid = "daemon", 1
    wanted = {
        "hugepages_count": 0,
        "hugepages_group": group,
        "hugepages_mounts": [{"path": "/mnt/new/huge", "size_kib": 2048}],
    }
    look = "findmnt -no FSTYPE --mountpoint /mnt/new/huge; stat -c '%a %g' /mnt/new/huge"

    output = inside(
        wanted,
        f"""mount --bind $there /mnt; role --check; ls /mnt; role; {look}; stat -fc %S /mnt/new/huge; role
            python3 - "/mnt/new/huge/of-the-group" <<'PYTHON'
import os, sys
os.setgroups([]); os.setgid({gid}); os.setuid(65534)
open(sys.argv[1], "w").close(); print("made a file")
PYTHON
            python3 - "/mnt/new/huge/of-others" <<'PYTHON'
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try: open(sys.argv[1], "w")
except PermissionError: print("refused")
PYTHON
            wanted=$(echo "$wanted" | sed 's/"size_kib"/"mode": "0750", "size_kib"/'); role; {look}; role
            revert; ls /mnt""",
    )

    assert output == [
        "changed=1",
        *("changed=1", "hugetlbfs", f"1770 {gid}", str(2 << 20), "changed=0"),
        *("made a file", "refused"),
        *("changed=1", "hugetlbfs", f"750 {gid}", "changed=0"),
        "changed=1",
    ]


def test_mount_of_somebody_else_is_left_alone(inside, tmp_path):
    there = tmp_path / "there"
    wanted = {"hugepages_count": 0, "hugepages_mounts": [{"path": str(there), "size_kib": 2048}]}

    output = inside(
        wanted, "mount -t hugetlbfs -o mode=0711 none $there; role; stat -c %a $there; revert; umount $there"
    )

    assert "mounted by somebody else: choose another path" in " ".join(output)
    assert "711" in output


def test_what_can_not_be_is_refused_all_at_once_before_anything_is_changed(inside, tmp_path):
    before = POOL.read_text()
    wanted = {
        "hugepages_count": 0,
        "hugepages_pools": [
            {"size_kib": 2048, "count": 10_000_000, "node": 0},
            {"size_kib": 2048, "count": 1, "node": 77},
            {"size_kib": 2048, "count": 1, "scope": "boot"},
            {"size_kib": 4, "count": 1},
        ],
        "hugepages_mounts": [{"path": "/mnt/huge", "size_kib": 2048, "mode": "0777"}],
    }

    output = " ".join(inside(wanted, "role"))

    for problem in (
        "MiB are asked for, more than there is: the host has",
        "on node 77: there is no such node",
        "1 hugepage of 2 MB (boot) set the same pages",
        "this kernel has no hugepages of 4 KiB, only of 2048",
        "mode 0777 lets everybody write",
        "Nothing was changed",
    ):
        assert problem in output
    assert POOL.read_text() == before
    assert list((tmp_path / "lib").iterdir()) == []


def test_number_that_the_kernel_has_no_pages_for_is_refused_and_auto_is_not(inside, tmp_path):
    none = "mount -t tmpfs none /sys/kernel/mm/hugepages"

    refused = inside({"hugepages_count": "512"}, f"{none}; role --check; role; ls {tmp_path}/lib")
    auto = inside({"hugepages_minimum": "128"}, f"{none}; role; ls {tmp_path}/lib")

    assert sum("512 hugepages of 2 MB can't be reserved" in line for line in refused) == 2
    assert [line for line in refused if "changed=" in line] == ["changed=0"] * 2
    assert refused[-1].startswith("changed=")  # no note below it
    assert "changed=0" in auto
    assert "This kernel has no hugepages of 2 MB" in auto[0]
