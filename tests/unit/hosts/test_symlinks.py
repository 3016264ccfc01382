"""Links of ours lead where they are wanted to, and come back."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import symlinks, undo


def target(root):
    return str((root / "current").readlink())


def test_link_is_made_moved_and_removed(tmp_path):
    assert symlinks.change("trex", "/current", "v1", root=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []

    assert symlinks.change("trex", "/current", "v1", root=tmp_path)
    assert not symlinks.change("trex", "/current", "v1", root=tmp_path)
    assert symlinks.change("trex", "/current", "v2", root=tmp_path)
    assert target(tmp_path) == "v2"

    assert undo.undo("trex", tmp_path) == (["symlink /current"], [])
    assert not (tmp_path / "current").is_symlink()


def test_link_of_before_is_restored(tmp_path):
    (tmp_path / "current").symlink_to("theirs")

    symlinks.change("trex", "/current", "v1", root=tmp_path)
    undo.undo("trex", tmp_path)

    assert target(tmp_path) == "theirs"


def test_link_that_somebody_else_has_changed_stays_and_is_reported(tmp_path):
    symlinks.change("trex", "/current", "v1", root=tmp_path)
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("theirs")

    for check in (True, False):
        assert undo.undo("trex", tmp_path, check=check) == (
            [],
            [
                "symlink /current: /current points at theirs by now, which is somebody else's work: left as it is"
            ],
        )
    assert target(tmp_path) == "theirs"


def test_anything_else_in_its_place_is_refused(tmp_path):
    (tmp_path / "current").mkdir()

    with pytest.raises(ValueError, match="is there and is no symbolic link: left alone"):
        symlinks.change("trex", "/current", "v1", root=tmp_path)
    assert not (tmp_path / "var").exists()
