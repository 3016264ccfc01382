"""A file that was there comes back as whose it was."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.labkit.host.plugins.module_utils import files, undo
from ansible_collections.labkit.host.plugins.module_utils.state import State


@pytest.fixture
def root(tmp_path):
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("last", ["ours\n", "theirs\n"], ids=["ours", "as it was"])
def test_file_that_was_somebodys_comes_back_as_theirs(root, last):
    (root / "etc").mkdir()
    theirs = root / "etc/theirs"
    theirs.write_text("theirs\n")
    os.chown(theirs, 1234, 1235)
    theirs.chmod(0o4755)
    files.change("boot", "/etc/theirs", "first\n", root=root)
    assert theirs.stat().st_uid == 0
    files.change("boot", "/etc/theirs", last, mode="4755", root=root)

    assert undo.undo("boot", root) == (["file /etc/theirs"], [])

    seen = theirs.stat()
    assert (theirs.read_text(), seen.st_uid, seen.st_gid) == ("theirs\n", 1234, 1235)
    assert stat.S_IMODE(seen.st_mode) == 0o4755


@pytest.mark.parametrize("now", ["ours\n", "theirs\n"])
def test_note_that_does_not_tell_whose_the_file_was_is_reverted_all_the_same(root, now):
    """As they were written before owners were."""
    old, new = ({"content": text, "mode": "0644"} for text in ("dGhlaXJzCg==", "b3Vycwo="))
    State("boot", root).note("file", "/theirs", old, new)
    (root / "theirs").write_text(now)

    assert undo.undo("boot", root) == (["file /theirs"], [])
    assert (root / "theirs").read_text() == "theirs\n"
