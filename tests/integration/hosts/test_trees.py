"""Folders of ours are made whole, and go with all that is in them; others' are left alone."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import downloads, files, state, trees, undo


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.c").write_text("int main(void) { return 0; }\n")
    made = tmp_path / "src.tar"
    subprocess.run(["tar", "-cf", made, "-C", tmp_path / "src", "."], check=True)
    return {"archive": str(made), "sha256": hashlib.sha256(made.read_bytes()).hexdigest()}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_archive_is_unpacked_once_and_the_folder_goes_with_what_was_built_in_it(root, archive):
    assert trees.change("probe", "/usr/local/lib/labkit/src", **archive, root=root, check=True)
    assert not list(root.iterdir())

    assert trees.change("probe", "/usr/local/lib/labkit/src", **archive, root=root)
    assert not trees.change("probe", "/usr/local/lib/labkit/src", **archive, root=root)
    (root / "usr/local/lib/labkit/src/main.o").touch()

    assert (root / "usr/local/lib/labkit/src/main.c").exists()
    assert undo.undo("probe", root)[1] == []
    assert not (root / "usr").exists()


def test_another_archive_takes_the_place_of_the_first(root, archive, tmp_path):
    trees.change("probe", "/src", **archive, root=root)
    (root / "src/old.o").touch()
    (tmp_path / "src/new.c").touch()
    subprocess.run(["tar", "-cf", archive["archive"], "-C", tmp_path / "src", "."], check=True)
    digest = hashlib.sha256((tmp_path / "src.tar").read_bytes()).hexdigest()

    assert trees.change("probe", "/src", archive=archive["archive"], sha256=digest, root=root)

    assert sorted(path.name for path in (root / "src").iterdir()) == [trees.MARKER, "main.c", "new.c"]


def test_half_an_archive_is_refused_and_nothing_is_changed(root, archive):
    with Path(archive["archive"]).open("r+b") as stream:
        stream.truncate(700)

    with pytest.raises(trees.TreeRefused, match=f"expected sha256 {archive['sha256']}, found"):
        trees.change("probe", "/src", **archive, root=root)
    assert not list(root.iterdir())


@pytest.fixture
def nested(archive, tmp_path):
    """All of it in one folder, as releases are packed."""
    made = tmp_path / "nested.tar.gz"
    subprocess.run(["tar", "-czf", made, "-C", tmp_path, "src"], check=True)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    return {"archive": f"file://{made}", "sha256": digest, "strip": 1, "needed": ["main.c"]}


def test_archive_of_a_url_is_unpacked_without_its_own_folder(root, nested):
    assert trees.change("probe", "/src", **nested, root=root)
    assert not trees.change("probe", "/src", **nested, root=root)

    assert (root / "src/main.c").exists()
    assert list((root / "var/tmp").iterdir()) == []


@pytest.mark.parametrize("change", ["text", ""])
def test_folder_with_a_damaged_file_is_unpacked_again(root, nested, change):
    trees.change("probe", "/src", **nested, root=root)
    (root / "src/main.c").write_text(change) if change else (root / "src/main.c").unlink()

    assert trees.damaged(root / "src") == ["main.c"]
    assert trees.change("probe", "/src", **nested, root=root)
    assert trees.damaged(root / "src") == []


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"needed": ["main.c", "so"]}, r"nested.tar.gz: so is not in it, so it is another archive"),
        ({"sha256": "0" * 64}, r"nested.tar.gz: expected sha256 0000"),
        ({"archive": "file:///gone.tar.gz"}, r"file:///gone.tar.gz: .*No such file"),
        ({"archive": "ftp://198.18.0.1/a.tar"}, r"ftp://198.18.0.1/a.tar: unknown kind of URL"),
    ],
)
def test_archive_that_is_another_leaves_the_old_folder(root, nested, wrong, expected):
    trees.change("probe", "/src", **nested, root=root)
    (root / "src/main.c").write_text("damaged, so that it is unpacked again")

    with pytest.raises(trees.TreeRefused, match=expected):
        trees.change("probe", "/src", **{**nested, **wrong}, root=root)
    assert (root / "src/main.c").read_text() == "damaged, so that it is unpacked again"
    assert [path.name for path in root.iterdir() if path.name != "var"] == ["src"]


def test_half_an_archive_with_its_own_checksum_is_refused(root, nested, tmp_path):
    half = tmp_path / "half.tar.gz"
    half.write_bytes((tmp_path / "nested.tar.gz").read_bytes()[:-20])
    digest = hashlib.sha256(half.read_bytes()).hexdigest()

    with pytest.raises(trees.TreeRefused, match=r"(?i)half.tar.gz: .*unexpected end of file"):
        trees.change("probe", "/src", **{**nested, "archive": str(half), "sha256": digest}, root=root)
    assert not (root / "src").exists()


def test_folder_of_somebody_else_is_refused(root, archive):
    (root / "src").mkdir()

    with pytest.raises(trees.TreeRefused, match="is not of labkit"):
        trees.change("probe", "/src", **archive, root=root)
    assert list(root.iterdir()) == [root / "src"]


def test_run_that_was_killed_in_the_midst_is_made_good_by_the_next(root, archive, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(trees, "_unpack", killed)
    with pytest.raises(KeyboardInterrupt):
        trees.change("probe", "/src", **archive, root=root)
    monkeypatch.undo()

    assert trees.change("probe", "/src", **archive, root=root)
    assert (root / "src/main.c").exists()
    undo.undo("probe", root)
    assert [path.name for path in root.iterdir()] == ["var"]


def test_archive_that_takes_for_ever_is_an_error_and_leaves_no_half_a_folder(
    root, archive, endless, monkeypatch
):
    endless("tar")
    monkeypatch.setattr(trees, "_UNPACKED_S", 0.1)

    with pytest.raises(trees.TreeRefused, match=r"src.tar: not unpacked after 0.1 s, stopped"):
        trees.change("probe", "/src", **archive, root=root)
    assert [path.name for path in root.iterdir()] == ["var"]


@pytest.mark.parametrize("order", [("replay", "labkit_host"), ("labkit_host", "replay")])
def test_folder_that_two_roles_use_goes_with_the_last_of_them(root, order):
    files.change("replay", "/usr/local/lib/labkit/replay.py", "text", root=root)
    trees.change("labkit_host", "/usr/local/lib/labkit/probe", root=root)

    assert [undo.undo(role, root)[1] for role in order] == [[], []]

    assert not (root / "usr/local/lib/labkit").exists()
    assert state.roles(root) == []


def test_revert_that_was_killed_when_it_had_handed_the_folder_on_comes_right(root):
    files.change("replay", "/usr/local/lib/labkit/replay.py", "text", root=root)
    trees.change("labkit_host", "/usr/local/lib/labkit/probe", root=root)
    folder = state.State("replay", root).noted(files.FOLDER, "/usr/local/lib/labkit")
    assert files.restore_folder(folder, root) is None

    assert [undo.undo(role, root)[1] for role in ("replay", "labkit_host")] == [[], []]

    assert not (root / "usr/local/lib/labkit").exists()
    assert state.roles(root) == []


def test_folder_with_something_of_nobody_in_it_stays_and_is_reported(root):
    files.change("replay", "/usr/local/lib/labkit/replay.py", "text", root=root)
    (root / "usr/local/lib/labkit/theirs").touch()

    _, left = undo.undo("replay", root)

    assert any("/usr/local/lib/labkit: other files are in it" in reason for reason in left)


def test_what_a_killed_run_left_of_a_download_is_removed_and_what_another_run_holds_stays(root):
    place = root / "var/tmp"
    (place / "labkit-tree-left").mkdir(parents=True)
    (place / "labkit-tree-left/archive").write_text("half")
    (place / "other").mkdir()

    with downloads.scratch(root, "labkit-tree-") as held, downloads.scratch(root, "labkit-tree-") as own:
        assert sorted(one.name for one in place.iterdir()) == sorted(["other", held.name, own.name])

    assert [one.name for one in place.iterdir()] == ["other"]
