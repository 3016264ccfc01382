"""The playbooks on this machine: refusals, check mode, and hugepages that are given back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playbooks import ANSIBLE, output, play

HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


def test_unsupported_distribution_is_refused_before_anything_is_changed():
    done = play("--check", "-e", '{"labkit_host_supported": {"Debian": "99", "Ubuntu": "99.04"}}')

    assert done.returncode != 0
    assert "is not supported: expected Debian 99 or newer, Ubuntu 99.04 or newer" in output(done)
    assert "Nothing was changed." in output(done)
    assert "Provision the machine" not in done.stdout


def test_too_few_hugepages_for_a_vhost_pair_are_refused():
    done = play("--check", "--tags", "hugepages", "-e", "hugepages_count=7")

    assert done.returncode != 0
    assert "7 hugepages of 2 MB" in output(done)
    assert "fewer than the 128 that a vhost pair needs" in output(done)


def test_short_grant_of_hugepages_is_an_error_with_the_figures():
    # A file that takes no 256, as a kernel without the memory takes none.
    file = "/proc/sys/net/ipv4/ip_default_ttl"
    done = play("--tags", "hugepages", "-e", f"hugepages_count=256 hugepages_count_file={file}")

    assert done.returncode != 0
    assert (
        f"Asked for 256 hugepages of 2 MB: {file}: writing '256' failed: Invalid argument; it stays "
        in output(done)
    )
    assert re.search(r"Free memory: \d+ MiB of \d+ MiB", output(done))
    assert re.search(r"Node 0, zone +\w+ +\d+", output(done))


def test_hugepages_are_granted_once_and_given_back(tmp_path):
    before = int(HUGEPAGES.read_text())
    count = ("--tags", "hugepages", "-e", f"hugepages_count={before + 128}")
    try:
        predicted, first, second = (play(*more, lib=tmp_path) for more in ((*count, "--check"), count, count))
        granted = int(HUGEPAGES.read_text())
        [change] = json.loads((tmp_path / "labkit/state/hugepages.json").read_text())["changes"]
    finally:
        back = play("--tags", "hugepages", playbook="revert.yml", lib=tmp_path)

    assert [done.returncode for done in (predicted, first, second, back)] == [0, 0, 0, 0], output(
        first
    ) + output(back)
    changed = [re.findall(r"changed=(\d+)", done.stdout) for done in (predicted, first, second)]
    assert changed == [["1"], ["1"], ["0"]]
    assert granted == before + 128
    assert change["old"]["value"] == str(before)
    assert int(HUGEPAGES.read_text()) == before
    assert list(tmp_path.iterdir()) == []


def test_zero_hugepages_leaves_them_alone(tmp_path):
    before = HUGEPAGES.read_text()

    done = play("--tags", "hugepages", "-e", "hugepages_count=0", lib=tmp_path)

    assert done.returncode == 0, output(done)
    assert "changed=0" in done.stdout
    assert HUGEPAGES.read_text() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("playbook", ["site.yml", "local.yml", "revert.yml"])
def test_tags_of_one_role_alone_don_t_stumble_over_the_others(playbook):
    """What Ansible runs whatever the tags (facts, argument specs) needs nothing that the other roles had looked up."""
    done = play("--check", "--tags", "of_no_role", playbook=playbook)

    assert done.returncode == 0, output(done)
    assert "changed=0" in done.stdout


def test_without_root_and_sudo_only_the_probe_is_built():
    """As apply-local calls it then."""
    done = play("--check", "--skip-tags", "machine")

    assert done.returncode == 0, output(done)
    assert {
        name.partition(" : ")[0] for name in re.findall(r"^TASK \[(.*)\]", done.stdout, re.MULTILINE)
    } == {"probe"}


def test_what_a_role_looked_up_is_not_taken_for_a_variable_of_the_host():
    """Two playbooks in one run: the second finds what the roles of the first registered."""
    both = (str(ANSIBLE / "local.yml"), "--check", "--tags", "hugepages", "-e", "hugepages_count=0")

    done = play(*both, playbook="local.yml")

    assert done.returncode == 0, output(done)
    assert done.stdout.count("TASK [Validate the host against the variables]") == 2
