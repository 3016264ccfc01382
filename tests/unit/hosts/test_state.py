"""What is changed on a host is written down first and can be taken back, whatever broke off in between."""

from __future__ import annotations

import json
import stat
import subprocess

import pytest
from ansible_collections.labkit.host.plugins.module_utils import files, settings, undo
from ansible_collections.labkit.host.plugins.module_utils.state import DIRECTORY, State, StateUnreadable


@pytest.fixture
def root(tmp_path):
    (tmp_path / "sys").mkdir()
    return tmp_path


def knob(root, text, reads_as="exact"):
    (root / "sys/knob").write_text(text + "\n")
    return settings.Setting("/sys/knob", reads_as, root)


def test_first_old_value_stays_whatever_later_runs_find(root):
    setting = knob(root, "1")

    settings.change("tuning", setting, "2")
    settings.change("tuning", setting, "3")

    assert [(change.old["value"], change.new) for change in State("tuning", root).changes()] == [("1", "3")]
    assert undo.undo("tuning", root) == (["setting /sys/knob"], [])
    assert setting.read() == "1"


def test_second_run_changes_nothing(root):
    setting = knob(root, "1")

    assert settings.change("tuning", setting, "2") == (True, "1")
    assert settings.change("tuning", setting, "2") == (False, "2")


def test_check_mode_tells_the_change_and_makes_none(root):
    setting = knob(root, "1")

    assert settings.change("tuning", setting, "2", check=True) == (True, "1")
    assert files.change("tuning", "/etc/ours", "text", root=root, check=True)

    assert setting.read() == "1"
    assert sorted(path.name for path in root.iterdir()) == ["sys"]


def test_old_value_is_on_disk_before_the_new_one_is_written(root, monkeypatch):
    setting = knob(root, "1")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(settings.Setting, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        settings.change("tuning", setting, "2")
    monkeypatch.undo()

    assert [change.old["value"] for change in State("tuning", root).changes()] == ["1"]
    settings.change("tuning", setting, "2")
    undo.undo("tuning", root)
    assert setting.read() == "1"


def test_value_that_does_not_take_is_an_error_and_leaves_the_old_one(root, monkeypatch):
    setting = knob(root, "64")
    reads = iter(["64", "64", "100", "64"])  # the kernel grants 100 of 512
    monkeypatch.setattr(settings.Setting, "read", lambda _: next(reads))

    with pytest.raises(
        settings.SettingRefused, match=r"wrote '512', read back '100'; the old value '64' is restored"
    ):
        settings.change("hugepages", setting, "512")

    assert (root / "sys/knob").read_text() == "64\n"
    assert State("hugepages", root).changes() == []


def test_value_that_a_later_run_did_not_get_is_not_what_a_boot_makes_again(root, monkeypatch):
    setting = knob(root, "64")
    settings.change("tuning", setting, "128", persist=True)
    with monkeypatch.context() as patch:
        reads = iter(["128", "128", "100", "128"])
        patch.setattr(settings.Setting, "read", lambda _: next(reads))
        with pytest.raises(settings.SettingRefused):
            settings.change("tuning", setting, "512", persist=True)

    assert [(change.new, change.persist) for change in State("tuning", root).changes()] == [("128", True)]


@pytest.mark.parametrize(
    ("reads_as", "now", "same", "other"),
    [
        ("selected", "always [madvise] never", "madvise", "never"),
        ("cpumask", "00000000,00000003", "3", "1"),
        ("cpulist", "0-2,5", "5,0,1,2", "0-3"),
        ("int", "0064", "64", "65"),
    ],
)
def test_spellings_of_one_value_are_the_same(root, reads_as, now, same, other):
    setting = knob(root, now, reads_as)

    assert settings.change("tuning", setting, same, check=True)[0] is False
    assert settings.change("tuning", setting, other, check=True)[0] is True


def test_file_that_was_there_comes_back_with_its_mode(root):
    (root / "etc").mkdir()
    theirs = root / "etc/theirs"
    theirs.write_text("theirs\n")
    theirs.chmod(0o640)

    assert files.change("boot", "/etc/theirs", "ours\n", root=root)
    assert not files.change("boot", "/etc/theirs", "ours\n", root=root)
    assert theirs.read_text() == "ours\n"
    undo.undo("boot", root)

    assert (theirs.read_text(), stat.S_IMODE(theirs.stat().st_mode)) == ("theirs\n", 0o640)


def test_file_that_was_not_there_goes(root):
    files.change("boot", "/etc/default/grub.d/90-labkit.cfg", "x", root=root)
    undo.undo("boot", root)

    assert sorted(path.name for path in root.rglob("*")) == ["lib", "sys", "var"]


def test_folder_in_which_others_left_something_stays_and_is_named(root):
    files.change("boot", "/etc/grub.d/ours", "x", root=root)
    (root / "etc/theirs").touch()

    done, left = undo.undo("boot", root)

    assert done == ["file /etc/grub.d/ours", "folder /etc/grub.d"]
    assert left == ["folder /etc: other files are in it by now"]


def test_file_that_somebody_else_changed_is_left_and_named(root):
    (root / "etc").mkdir()
    files.change("boot", "/etc/ours", "ours\n", root=root)
    (root / "etc/ours").write_text("edited\n")

    done, left = undo.undo("boot", root)

    assert (done, left) == (
        [],
        ["file /etc/ours: /etc/ours was changed since by somebody else: left as it is"],
    )
    assert (root / "etc/ours").read_text() == "edited\n"


@pytest.fixture
def killed(monkeypatch):
    """Makes a file, and is killed after the note and before the write."""

    def change(*arguments, **options):
        def dead(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(files, "_make", dead)
            with pytest.raises(KeyboardInterrupt):
                files.change(*arguments, **options)

    return change


@pytest.mark.parametrize("later", [("two\n",), ("two\n", "three\n"), (None,), ("theirs\n",)])
def test_file_of_ours_that_was_not_written_again_comes_back_all_the_same(root, killed, later):
    """Runs were killed between the note and the write: there is still what the first one made of it."""
    (root / "etc").mkdir()
    (root / "etc/both").write_text("theirs\n")
    files.change("boot", "/etc/both", "one\n", root=root)
    for text in later:
        killed("boot", "/etc/both", text, root=root)
    assert (root / "etc/both").read_text() == "one\n"

    assert undo.undo("boot", root) == (["file /etc/both"], [])
    assert (root / "etc/both").read_text() == "theirs\n"


def test_edit_that_a_killed_run_found_and_did_not_overwrite_is_left_and_named(root, killed):
    (root / "etc").mkdir()
    files.change("boot", "/etc/ours", "one\n", root=root)
    (root / "etc/ours").write_text("edited\n")
    killed("boot", "/etc/ours", "two\n", root=root)

    assert "changed since by somebody else" in undo.undo("boot", root)[1][0]
    assert (root / "etc/ours").read_text() == "edited\n"


@pytest.mark.parametrize("path", ["/etc/ours", "/var/lib/labkit/state/boot.json"])
def test_half_a_file_of_a_killed_run_goes_with_the_revert(root, path):
    half = root / path[1:]
    half = half.with_name(f".{half.name}.labkit-new")
    if path.startswith("/etc"):
        State("boot", root).note("file", path, None, {"content": "", "mode": "0644"})
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_text("ha")

    undo.undo("boot", root)

    assert not half.exists()
    assert not (root / "var/lib/labkit").exists()


def test_world_writable_file_is_refused(root):
    with pytest.raises(ValueError, match="lets everybody write"):
        files.change("boot", "/etc/ours", "x", mode="0666", root=root)


@pytest.mark.parametrize("place", ["folder", "link"])
def test_what_is_no_plain_file_is_left_alone(root, place):
    if place == "folder":
        (root / "ours").mkdir()
    else:
        (root / "ours").symlink_to("elsewhere")

    with pytest.raises(ValueError, match="not a plain file"):
        files.change("boot", "/ours", "x", root=root)
    assert not (root / DIRECTORY).exists()


def test_undo_goes_on_where_it_was_broken_off(root, monkeypatch):
    for name in ("one", "two"):
        files.change("boot", f"/{name}", name, root=root)
    put_back = undo.KINDS["file"]

    def broken(change, root):
        if change.target == "/one":
            raise KeyboardInterrupt
        return put_back(change, root)

    monkeypatch.setitem(undo.KINDS, "file", broken)
    with pytest.raises(KeyboardInterrupt):
        undo.undo("boot", root)
    monkeypatch.undo()

    assert undo.undo("boot", root) == (["file /one"], [])
    assert sorted(path.name for path in root.iterdir()) == ["sys", "var"]


def test_what_is_wanted_no_more_is_reverted_and_all_else_stays(root):
    for name in ("one", "two", "three"):
        (root / f"sys/{name}").write_text("1\n")
        settings.change("tuning", settings.Setting(f"/sys/{name}", root=root), "2", persist=name == "two")
    files.change("tuning", "/etc/ours", "text", root=root)
    less = {"only": ["setting"], "wanted": ["/sys/one", "/sys/never"]}

    assert undo.undo("tuning", root, **less, check=True) == (["setting /sys/three", "setting /sys/two"], [])
    assert (root / "sys/two").read_text() == "2\n"
    assert undo.undo("tuning", root, **less) == (["setting /sys/three", "setting /sys/two"], [])
    assert undo.undo("tuning", root, **less) == ([], [])

    assert [(root / f"sys/{name}").read_text() for name in ("one", "two", "three")] == ["2\n", "1\n", "1\n"]
    assert [(one.kind, one.target) for one in State("tuning", root).changes() if one.kind != "folder"] == [
        ("setting", "/sys/one"),
        ("file", "/etc/ours"),
    ]
    assert [one for one in State("tuning", root).changes() if one.persist] == [], (
        "nothing is made again at boot"
    )


def test_what_cannot_even_be_looked_at_keeps_nothing_else_from_being_reverted(root, monkeypatch):
    setting = knob(root, "1")
    settings.change("tuning", setting, "2")
    for name in ("link", "slow"):
        files.change("tuning", f"/{name}", "x", root=root)
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")
    put_back = undo.KINDS["file"]

    def slow(change, root):
        if change.target == "/slow":
            raise subprocess.TimeoutExpired(["umount", "/slow"], 60)
        return put_back(change, root)

    monkeypatch.setitem(undo.KINDS, "file", slow)
    done, left = undo.undo("tuning", root)

    assert (done, setting.read()) == (["setting /sys/knob"], "1")
    assert left == [
        "file /slow: Command '['umount', '/slow']' timed out after 60 seconds",
        "file /link: /link is not a plain file: left alone",
    ]
    assert [change.target for change in State("tuning", root).changes()] == ["/link", "/slow"]


def test_unknown_kind_of_change_is_left_and_named(root):
    State("boot", root).note("of_tomorrow", "/x", None, None)

    done, left = undo.undo("boot", root)

    assert done == []
    assert "a kind of change that this labkit does not know" in left[0]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2, "changes": []}', '{"format": 1, "changes": [{"x": 1}]}']
)
def test_damaged_state_stops_everything(root, text):
    path = State("boot", root).path
    path.parent.mkdir(parents=True)
    path.write_text(text)

    with pytest.raises(StateUnreadable, match="nothing was changed"):
        files.change("boot", "/etc/ours", "x", root=root)
    assert not (root / "etc").exists()


def test_state_is_for_root_alone_and_no_temporary_file_stays(root):
    State("boot", root).note("file", "/x", None, None)
    State("boot", root).note("file", "/y", None, None)

    folder = root / DIRECTORY
    assert [path.name for path in folder.iterdir()] == ["boot.json"]
    assert stat.S_IMODE((folder / "boot.json").stat().st_mode) == 0o600
    assert len(json.loads((folder / "boot.json").read_text())["changes"]) == 2


def test_role_names_no_path():
    with pytest.raises(ValueError, match="expected lower-case letters"):
        State("../boot")


def test_setting_of_an_offline_core_is_left_alone_at_boot_and_reported_when_it_can_not_go_back(tmp_path):
    path = "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"
    file = tmp_path / path.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text("powersave\n")
    online = tmp_path / "sys/devices/system/cpu/online"
    online.write_text("0-1\n")
    setting = settings.Setting(path, root=tmp_path)
    settings.change("tuning", setting, "performance", persist=True)
    (noted,) = State("tuning", tmp_path).changes()

    online.write_text("0\n")
    file.unlink()
    assert setting.offline() == 1
    settings.again(noted, tmp_path)  # nothing to be set, and no failure of the unit
    _, left = undo.undo("tuning", tmp_path)
    assert "can't be reverted while core 1 is offline: chcpu -e 1" in str(left)

    online.write_text("0-1\n")
    file.write_text("performance\n")
    _, left = undo.undo("tuning", tmp_path)
    assert (left, file.read_text().strip()) == ([], "powersave")
