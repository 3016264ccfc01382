"""The variables that name an archive, of each role that unpacks one."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.labkit.host.plugins.module_utils import archives

SHA256 = hashlib.sha256(b"whole").hexdigest()
WANTED = {
    "openonload_version": "9.2.1",
    "openonload_sha256": SHA256,
    "openonload_url": "https://198.18.0.1/a",
}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {"openonload_sha256": ""},
            "openonload_sha256 is empty, and openonload_version is 9.2.1: expected 64",
        ),
        ({"openonload_version": "9/2"}, "openonload_version '9/2': expected letters, digits"),
        (
            {"openonload_url": ""},
            "openonload_version is 9.2.1, and both openonload_url and openonload_archive are",
        ),
        ({"openonload_archive": "a.tar.gz"}, "openonload_archive: a.tar.gz: expected an absolute path"),
        (
            {"openonload_version": "", "openonload_sha256": ""}
            | {"openonload_interfaces": [{"name": "eth1"}]},
            "openonload_interfaces is set, and openonload_version is empty: expected the archive's version, such as "
            "9.2.1",
        ),
    ],
)
def test_mistake_in_what_names_onloads_archive_is_reported(more, expected):
    [found] = archives.wrong(archives.OPENONLOAD, {**WANTED, **more})

    assert found.startswith(expected)


def test_archive_where_ansible_runs_takes_the_place_of_a_url():
    wanted = {**WANTED, "openonload_url": "", "openonload_archive": "/home/lab/a.tar.gz"}

    assert list(archives.wrong(archives.OPENONLOAD, wanted)) == []


@pytest.mark.parametrize("of", [archives.TREX, archives.OPENONLOAD], ids=lambda of: of.role)
def test_archive_on_the_host_is_compared_with_the_checksum_of_its_own_role(of, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"half")
    wanted = {f"{of.role}_version": "1", f"{of.role}_sha256": SHA256, f"{of.role}_url": "/a.tar.gz"}

    [found] = archives.problems(of, wanted, {}, tmp_path)

    assert found.startswith(f"{of.role}_url: /a.tar.gz: expected sha256 {SHA256} ({of.role}_sha256), found ")
    (tmp_path / "a.tar.gz").write_bytes(b"whole")
    assert list(archives.problems(of, wanted, {}, tmp_path)) == []
