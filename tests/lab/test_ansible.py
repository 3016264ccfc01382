"""The playbooks, run where they change nothing: check mode, or a knob that is none. They need no root, but time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ANSIBLE = Path(__file__).parents[2] / "ansible"


def play(*arguments: str, playbook: str = "local.yml") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["ansible-playbook", str(ANSIBLE / playbook), "-e", "ansible_become=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def told(done: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r"\s+", " ", done.stdout + done.stderr)


def test_unsupported_distribution_is_refused_before_anything_is_changed():
    done = play("--check", "-e", '{"labkit_host_supported": {"Debian": "99", "Ubuntu": "99.04"}}')

    assert done.returncode != 0
    assert (
        "is not supported: expected Debian 99 or newer, Ubuntu 99.04 or newer. Nothing was changed."
        in told(done)
    )
    assert "Make the machine ready" not in done.stdout


def test_too_few_hugepages_for_a_vhost_pair_are_refused():
    done = play("--check", "--tags", "hugepages", "-e", "hugepages_count=7")

    assert done.returncode != 0
    assert "7 hugepages of 2 MB" in told(done)
    assert "fewer than the 128 that a vhost pair needs" in told(done)


def test_short_grant_of_hugepages_is_an_error_with_the_figures(tmp_path):
    # What is written to /dev/null does not read back: as from a kernel that grants nothing.
    done = play(
        "--tags",
        "hugepages",
        "-e",
        f"hugepages_count=256 hugepages_knob=/dev/null hugepages_state_dir={tmp_path}",
    )

    assert done.returncode != 0
    assert "Asked for 256 hugepages of 2 MB, the kernel granted 0 (before: 0, memory " in told(done)


def test_old_count_of_hugepages_is_written_down_before_it_is_changed_and_put_back(tmp_path):
    knob = tmp_path / "nr_hugepages"
    knob.write_text("3\n")
    variables = f"hugepages_count=256 hugepages_knob={knob} hugepages_state_dir={tmp_path}"

    first = play("--tags", "hugepages", "-e", variables)
    raised = knob.read_text()
    second = play("--tags", "hugepages", "-e", variables)
    note = (tmp_path / "hugepages.json").read_text()
    back = play("--tags", "hugepages", "-e", variables, playbook="local-revert.yml")

    assert (first.returncode, second.returncode, back.returncode) == (0, 0, 0), told(first) + told(back)
    assert raised.strip() == "256"
    assert '"old": 3' in note
    assert "changed=0" in second.stdout
    assert knob.read_text().strip() == "3"
    assert not (tmp_path / "hugepages.json").exists()


def test_zero_hugepages_leaves_them_alone(tmp_path):
    knob = tmp_path / "nr_hugepages"
    knob.write_text("3\n")

    done = play(
        "--tags", "hugepages", "-e", f"hugepages_count=0 hugepages_knob={knob} hugepages_state_dir={tmp_path}"
    )

    assert done.returncode == 0, told(done)
    assert "changed=0" in done.stdout
    assert knob.read_text() == "3\n"
    assert list(tmp_path.iterdir()) == [knob]
