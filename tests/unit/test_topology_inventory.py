"""The inventory that a topology names: where its path leads, and when it is not needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid
from labkit.lab.topology import Topology
from labkit.lab.topology_file import load, parse
from labkit.session import destinations
from labkit.session.destinations import inventories_of, is_here

TEXT = """\
description: a lab
backends: [kernel]
hosts: {tester: alpha, dut: beta}
inventory: hosts.yml
links:
  - name: first
    kind: nic
    tester: {interface: eth1, ipv4: 198.18.0.1/24}
    dut: {interface: eth1, ipv4: 198.18.0.2/24}
"""


def read(folder: Path, inventory: str = "hosts.yml") -> Topology:
    return parse(TEXT.replace("inventory: hosts.yml", f"inventory: {inventory}"), folder / "lab.yml")


def test_a_path_is_relative_to_the_file(tmp_path: Path) -> None:
    lab = read(tmp_path, "[hosts.yml, /etc/more.yml]")
    assert lab.inventories == (tmp_path / "hosts.yml", Path("/etc/more.yml"))
    assert lab.inventory_line == 4
    assert parse(TEXT.replace("inventory: hosts.yml\n", ""), tmp_path / "lab.yml").inventories == ()


def test_in_a_file_that_comes_with_labkit_it_is_relative_to_the_working_directory() -> None:
    lab = load("vagrant")
    assert lab.inventories[0] == Path(".vagrant/provisioners/ansible/inventory")
    assert all(link.tester.mac and link.dut.mac for link in lab.links)


@pytest.mark.parametrize(
    ("inventory", "said"),
    [
        ("[]", r"lab\.yml:4: inventory: expected an Ansible inventory, or a list of them, got an empty list"),
        ("''", r"lab\.yml:4: inventory: expected text, got nothing"),
        ("{a: b}", r"lab\.yml:4: inventory: expected text, got a mapping"),
    ],
)
def test_says_where_it_is_wrong(inventory: str, said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        read(Path(), inventory)


def test_a_lab_that_is_on_this_machine_has_none() -> None:
    text = TEXT.replace("hosts: {tester: alpha, dut: beta}\n", "")
    with pytest.raises(ConfigInvalid, match=r"lab\.yml:3: inventory: a lab on this machine alone needs no"):
        parse(text, Path("lab.yml"))


def test_what_the_user_chooses_counts_alone(tmp_path: Path) -> None:
    lab = read(tmp_path)  # whose inventory is not there
    assert inventories_of(lab, ["mine.yml"]) == ("mine.yml",)


def test_one_that_is_not_there_is_reported_with_its_line_and_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        inventories_of(read(tmp_path), ())
    assert caught.value.message == (
        f"{tmp_path}/lab.yml:4: inventory: no such file or folder: {tmp_path}/hosts.yml"
    )
    assert caught.value.hint == "give another inventory: --inventory FILE"
    with pytest.raises(ConfigInvalid) as caught:
        inventories_of(read(tmp_path, ".vagrant/inventory"), ())
    assert "vagrant up" in str(caught.value.hint)


def test_one_that_is_there_is_used(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").touch()
    lab = read(tmp_path)
    assert inventories_of(lab, ()) == (str(tmp_path / "hosts.yml"),)


def test_a_host_of_the_lab_that_does_not_have_it_is_here_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destinations.platform, "node", lambda: "alpha.example")
    lab = read(tmp_path)
    assert inventories_of(lab, ()) == ()
    assert [is_here(name, lab, ()) for name in ("alpha", "beta")] == [True, False]
    # With an inventory a name means what stands there.
    (tmp_path / "hosts.yml").touch()
    found = inventories_of(lab, ())
    assert found
    assert not is_here("alpha", lab, found)
    # Without the key it is the name that ssh knows.
    assert not is_here("alpha", parse(TEXT.replace("inventory: hosts.yml\n", ""), Path("lab.yml")), ())
