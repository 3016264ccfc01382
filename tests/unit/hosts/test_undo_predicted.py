"""Check mode of a revert tells what would be left, and changes nothing."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import files, settings, undo
from ansible_collections.labkit.host.plugins.module_utils.state import State


@pytest.fixture
def root(tmp_path):
    (tmp_path / "sys").mkdir()
    for name in ("one", "two"):
        (tmp_path / "sys" / name).write_text("1\n")
        settings.change("tuning", settings.Setting(f"/sys/{name}", root=tmp_path), "2")
    for name in ("ours", "edited", "replaced"):
        files.change("tuning", f"/etc/{name}", "text\n", root=tmp_path)
    return tmp_path


def test_what_would_be_left_is_predicted_with_the_reason(root):
    (root / "sys/two").unlink()
    (root / "etc/edited").write_text("edited\n")
    (root / "etc/replaced").unlink()
    (root / "etc/replaced").symlink_to("ours")
    noted = State("tuning", root).changes()

    done, left = undo.undo("tuning", root, check=True)

    assert left == [
        "file /etc/replaced: /etc/replaced is not a plain file: left alone",
        "file /etc/edited: /etc/edited was changed since by somebody else: left as it is",
        "setting /sys/two: /sys/two is no longer there (it was 1)",
    ]
    assert {"file /etc/ours", "setting /sys/one"} <= set(done)
    assert State("tuning", root).changes() == noted
    assert (root / "sys/one").read_text() == "2\n"
    assert set(left) <= set(undo.undo("tuning", root)[1])
