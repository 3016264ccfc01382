"""site.yml in a copy of this machine: predicted, made, made again, verified and taken back."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from ansible_collections.labkit.host.plugins.module_utils import snapshot
from container import CHECKOUT, container

pytestmark = [pytest.mark.beside, pytest.mark.long]

HERE = ["util-linux"]
"""A package that every machine has: nothing is downloaded."""
WANTED = {
    "labkit_host_user": "tester",
    "labkit_host_packages": HERE,
    "labkit_host_build": True,
    "labkit_host_capabilities": True,
    # Pages are the kernel's, so this machine's; a mount is the container's.
    "hugepages_count": "0",
    "hugepages_group": "labkit",
    "hugepages_mounts": [{"path": "/mnt/huge", "size_kib": 2048}],
    "dpdk_packages": HERE,
    "dpdk_group": "labkit",
    "dpdk_memlock_kib": "1048576",
    "af_xdp_packages": HERE,
    "af_xdp_memlock_kib": "unlimited",
    "af_xdp_interfaces": [{"name": "data0", "napi_defer_hard_irqs": 2, "gro_flush_timeout_ns": 20000}],
    "nic_tuning_interfaces": [{"name": "data1", "features": {"gro": False, "tso": "off"}}],
}
INSTALLED = {
    "labkit_host_install": True,
    # Not those of the environment that these tests run in.
    "labkit_host_python": "/usr/bin/python3",
    "labkit_host_command": "/usr/local/bin/labkit",
}
LINKS = "ip link add data0 type veth peer name data1; ip link set data0 up; ip link set data1 up"
INVENTORY = "/tmp/hosts.yml"
OWN = "own-passwords.yml"
"""A file of the user's own, beside labkit's inventories and variables."""


INDEX = "/tmp/index"
"""A folder of packages in the host, which has no network."""


def fill_index(host, folder):
    """Put there what pip will be asked for."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    download = [sys.executable, "-m", "pip", "-q", "download", "--only-binary=:all:", "--dest", str(folder)]
    subprocess.run([*download, *wanted], check=True)
    host.put(folder, INDEX)


@contextmanager
def stock(folder, **more):
    """A stock host, with its inventory in it."""
    with container(folder) as made:
        local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        inventory = yaml.safe_dump({"all": {"hosts": {"localhost": {**local, **WANTED, **more}}}})
        links = made.run("sh", "-ec", f'{LINKS}; printf %s "$1" > {INVENTORY}', "sh", inventory)
        assert links.returncode == 0, links.stderr
        yield made


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """One for the whole story."""
    with (
        stock(tmp_path_factory.mktemp("container"), **INSTALLED) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        fill_index(made, tmp_path_factory.mktemp("index"))
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", INDEX)
        yield made


def test_what_is_written_in_there_stays_in_there(host):
    places = ["/usr/local/labkit-try", f"{sys.base_prefix}/labkit-try", f"{CHECKOUT}/labkit-try"]

    assert host.run("touch", *places).returncode == 0
    assert [place for place in places if Path(place).exists()] == []
    host.run("rm", *places)


@pytest.fixture(scope="module")
def story(host):
    """Every playbook in its turn, and the host before and after."""
    before = host.snapshot()
    uninstalled = host.run("/usr/local/bin/labkit", "trial", "--topology", "sim").returncode
    assert uninstalled == 127, "this machine has a labkit of its own there"
    own = [f"{CHECKOUT}/ansible/{folder}/{OWN}" for folder in ("inventory", "host_vars")]
    written = host.run(
        "sh", "-ec", 'for f; do mkdir -p "${f%/*}"; echo "own: secret" > "$f"; done', "sh", *own
    )
    assert written.returncode == 0, written.stderr
    runs = {
        "predicted": host.play("site.yml", INVENTORY, "--check"),
        "made": host.play("site.yml", INVENTORY),
        "again": host.play("site.yml", INVENTORY),
        "verified": host.play("verify.yml", INVENTORY),
        "others": host.run("find", "/usr/local/lib/labkit", "-name", OWN),
        "shipped": host.run("find", "/usr/local/lib/labkit", "-path", "*/labkit/ansible/*", "-name", "*.yml"),
        "trial": host.run("env", "-i", "/usr/local/bin/labkit", "trial", "--topology", "sim"),
    }
    with subprocess.Popen(
        [*host.enter, "sh", "-ec", "cd /mnt/huge; exec cat"], stdin=subprocess.PIPE
    ) as user:
        runs["in use"] = host.play("revert.yml", INVENTORY)
        user.stdin.close()
    runs["reverted"] = host.play("revert.yml", INVENTORY)
    runs["nothing left"] = host.play("revert.yml", INVENTORY)
    runs["noticed"] = host.play("verify.yml", INVENTORY)
    return runs, snapshot.compare(before, host.snapshot())


def changed(done):
    """Names of the tasks that changed something, or would have."""
    names, task = [], ""
    for line in done.stdout.splitlines():
        if found := re.match(r"TASK \[(.*)\] \*+", line):
            task = found.group(1)
        elif line.startswith("changed: "):
            names.append(task)
    return names


@pytest.mark.parametrize("name", ["predicted", "made", "again", "reverted", "nothing left"])
def test_every_playbook_comes_right(story, name):
    assert story[0][name].returncode == 0, story[0][name].stdout[-4000:]


def test_check_mode_foretells_what_a_run_then_changes(story):
    runs, _ = story

    assert sorted(changed(runs["predicted"])) == sorted(changed(runs["made"]))
    assert {name.partition(" : ")[0] for name in changed(runs["made"])} >= {
        "labkit_host",
        "hugepages",
        "dpdk",
        "af_xdp",
        "nic_tuning",
    }


def test_second_run_changes_nothing(story):
    assert changed(story[0]["again"]) == []
    assert changed(story[0]["nothing left"]) == []


PASSING = {
    *("labkit_host.user", "labkit_host.probe", "labkit_host.capabilities", "labkit_host.labkit"),
    *("hugepages.mounts", "hugepages.access"),
    *("af_xdp.bpffs", "af_xdp.napi", "nic_tuning.features"),
}
"""Host checks that a container can pass, without the packages of DPDK."""


def failed(verified):
    """Ids of the host checks that failed."""
    return set(re.findall(r"FAILED \S+test_host_check\[(\S+?)\[", verified.stdout))


def test_installed_labkit_needs_nothing_of_the_controller(story):
    trial = story[0]["trial"]

    assert trial.returncode == 0, trial.stderr
    assert "forwarded" in trial.stdout


def test_the_controllers_own_inventories_are_not_installed(story):
    runs, _ = story

    assert runs["others"].returncode == 0, runs["others"].stderr
    assert runs["others"].stdout == ""
    shipped = runs["shipped"].stdout
    for own in ("inventory/example.yml", "site.yml", "tasks/who.yml", "roles/dpdk/tasks/main.yml"):
        assert f"/labkit/ansible/{own}\n" in shipped


def test_verify_finds_what_is_made_and_what_is_not(story):
    runs, _ = story

    assert failed(runs["verified"]) & PASSING == set()
    assert failed(runs["noticed"]) >= PASSING, runs["noticed"].stdout[-4000:]
    assert runs["noticed"].returncode != 0


def test_what_cannot_be_reverted_keeps_nothing_else_from_it(story):
    runs, _ = story

    assert runs["in use"].returncode != 0
    assert re.search(r"Report what could not be reverted.*?/mnt/huge", runs["in use"].stdout, re.DOTALL)
    assert {name.partition(" : ")[0] for name in changed(runs["in use"])} == {
        *("nic_tuning", "af_xdp", "dpdk", "labkit_host")
    }
    assert {name.partition(" : ")[0] for name in changed(runs["reverted"])} == {"hugepages"}


def test_what_is_changed_is_reported_at_the_end(story):
    output = re.sub(r"\s+", " ", story[0]["made"].stdout)

    assert "labkit_host: group labkit, user tester, member tester:labkit" in output


def test_host_is_as_it_was(story):
    assert story[1] == []
