"""Packages: what comes is known before it comes, and exactly that goes again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import apt, apt_trouble, packages, undo
from ansible_collections.labkit.host.plugins.module_utils.apt import Apt
from ansible_collections.labkit.host.plugins.module_utils.package_manager import Done, PackagesRefused
from ansible_collections.labkit.host.plugins.module_utils.state import DIRECTORY, State

ARCHIVE = {
    "hello": {"version": "2", "depends": ["libhello"]},
    "libhello": {"version": "1"},
    "greet": {"version": "1", "depends": ["libhello"]},
    "libc6": {"version": "2"},
    "newer": {"version": "1", "depends": ["libc6"]},
    "other-mail": {"version": "1", "conflicts": ["mail"]},
    "mail": {"version": "1"},
    "huge": {"version": "1", "kib": 1 << 50},
}


class World:
    """The host that the fake programs see."""

    def __init__(self, place):
        self.place = place
        self.write(
            installed={
                "libc6": {"status": "installed", "version": "1"},
                "mail": {"status": "installed", "version": "1"},
            },
            archive=ARCHIVE,
            index=sorted(ARCHIVE),
            log=[],
        )

    def write(self, **fields):
        self.place.write_text(json.dumps({**self.read(), **fields}))

    def read(self):
        return json.loads(self.place.read_text()) if self.place.exists() else {}

    @property
    def names(self):
        return sorted(self.read()["installed"])

    def install(self, name, **fields):
        self.write(
            installed={**self.read()["installed"], name: {"status": "installed", "version": "1", **fields}}
        )

    def called(self, words):
        return [line for line in self.read()["log"] if words in line]


@pytest.fixture
def world(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name in ("dpkg", "dpkg-query", "dpkg-deb", "apt-get", "apt-cache"):
        (tmp_path / "bin" / name).symlink_to(Path(__file__).parent / "fake_apt.py")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_APT", str(tmp_path / "world.json"))
    monkeypatch.setattr(apt_trouble, "LOCKS", (str(tmp_path / "lock"),))
    monkeypatch.setattr(apt, "_UPDATES", tmp_path / "updates")
    return World(tmp_path / "world.json")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def install(root, *names, role="tools", files=(), check=False):
    return packages.change(role, names, files, manager=Apt(lock_timeout_s=0), root=root, check=check)


def noted(root, role="tools"):
    return [change.new["added"] for change in State(role, root).changes()]


def test_what_comes_along_is_written_down_and_goes_again(world, root):
    before = world.names

    done = install(root, "hello")

    assert done == packages.Done(True, ["libhello", "hello"], [])
    assert noted(root) == [["hello", "libhello"]]
    assert world.names == ["hello", "libc6", "libhello", "mail"]
    assert undo.undo("tools", root) == (["packages apt"], [])
    assert world.names == before
    assert not (root / DIRECTORY).exists()


def test_second_run_changes_nothing_and_starts_no_apt(world, root):
    install(root, "hello")
    world.write(log=[])

    assert install(root, "hello") == packages.Done(False, [], [])
    assert not world.called("apt-get")


def test_check_mode_tells_the_same_and_changes_nothing(world, root):
    before = world.read()["installed"]

    assert install(root, "hello", check=True) == packages.Done(True, ["libhello", "hello"], [])

    assert world.read()["installed"] == before
    assert not any(root.iterdir())
    assert not world.called("apt-get update")


def test_note_is_on_disk_before_anything_is_installed(world, root, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Apt, "install", killed)
    with pytest.raises(KeyboardInterrupt):
        install(root, "hello")

    assert noted(root) == [["hello", "libhello"]]


def test_installation_is_simulated_with_the_options_of_the_real_one(world, root):
    install(root, "hello")

    [simulated] = world.called("--simulate")
    [real] = world.called("--no-remove")
    assert simulated.replace("--simulate ", "") == real.replace("--no-remove ", "")
    assert "--no-install-recommends" in real


def test_installation_that_would_remove_a_package_is_refused(world, root):
    with pytest.raises(
        PackagesRefused, match=r"installing other-mail would remove mail\. Nothing was changed"
    ):
        install(root, "other-mail")

    assert "other-mail" not in world.names
    assert not any(root.iterdir())


def test_package_that_had_to_be_upgraded_is_reported_and_stays(world, root):
    assert install(root, "newer") == packages.Done(True, ["newer"], ["libc6"])
    assert packages.upgraded("tools", root) == ["libc6=1"]

    undo.undo("tools", root)
    assert world.names == ["libc6", "mail"]
    assert packages.upgraded("tools", root) == []


def test_version_that_was_there_first_is_the_one_that_is_reported(world, root):
    install(root, "newer")
    newer = {"libc6": {"version": "3"}, "newest": {"version": "1", "depends": ["libc6"]}}
    world.write(archive={**ARCHIVE, **newer}, index=[*ARCHIVE, "newest"])

    assert install(root, "newest").upgraded == ["libc6"]
    assert packages.upgraded("tools", root) == ["libc6=1"]


def test_note_without_what_was_upgraded_holds(world, root):
    """As they were written before that was kept."""
    install(root, "hello", role="one")
    [change] = State("one", root).changes()
    old = {key: value for key, value in change.new.items() if key != "upgraded"}
    State("one", root).note(change.kind, change.target, None, old)
    install(root, "greet", role="two")

    assert packages.upgraded("one", root) == []
    assert undo.undo("one", root)[1] == undo.undo("two", root)[1] == []
    assert world.names == ["libc6", "mail"]


def test_name_that_is_not_in_the_index_is_looked_for_once_more_after_an_update(world, root):
    world.write(index=[])

    assert install(root, "hello").installed == ["libhello", "hello"]
    assert len(world.called("apt-get -o APT::Update::Error-Mode=any update")) == 1


def test_check_mode_fetches_an_index_of_its_own(world, root):
    world.write(index=[])

    assert install(root, "hello", check=True).installed == ["libhello", "hello"]

    [update] = world.called("update")
    folder = update.partition("Dir::State::Lists=")[2].split()[0]
    assert folder.endswith("/lists")
    assert not Path(folder).exists()


def test_unknown_name_is_reported_after_one_update(world, root):
    with pytest.raises(
        PackagesRefused, match="no package nosuch is in the index of this host, nor after apt-get update"
    ):
        install(root, "hello", "nosuch")

    assert len(world.called("update")) == 1
    assert "hello" not in world.names
    assert not any(root.iterdir())


def test_index_that_is_out_of_date_is_fetched_and_the_installation_goes_on(world, root):
    world.write(stale=True)

    assert install(root, "hello").installed == ["libhello", "hello"]
    assert len(world.called("404")) == 1
    assert len(world.called("update")) == 1


def test_no_network_is_reported(world, root):
    world.write(index=[], offline=True)

    with pytest.raises(
        PackagesRefused, match="the package archive cannot be reached: E: Temporary failure resolving"
    ):
        install(root, "hello")


@pytest.mark.parametrize(("index", "chosen"), [(["greet", "libhello"], "greet"), (sorted(ARCHIVE), "hello")])
def test_of_alternatives_the_first_that_there_is_comes(world, root, index, chosen):
    world.write(index=index)

    assert install(root, "nosuch|hello|greet").installed[-1] == chosen


def test_alternative_that_is_installed_will_do(world, root):
    world.install("greet")

    assert install(root, "hello|greet") == packages.Done(False, [], [])


def test_package_that_provides_the_name_will_do(world, root):
    world.install("libelf1t64", provides="libelf1 (= 0.190), other")

    assert install(root, "libelf1") == packages.Done(False, [], [])


def test_package_of_another_architecture_will_not_do(world, root):
    world.install("hello", arch="i386")

    assert install(root, "hello", check=True).changed


@pytest.mark.parametrize("name", ["hello-", "", "-o", "hello/sid", "hel*lo", "hello;", "hello="])
def test_what_is_no_package_name_is_refused(world, root, name):
    with pytest.raises(PackagesRefused, match="is no package name"):
        install(root, name)


def test_package_file_is_installed_unless_that_version_is(world, root, tmp_path):
    file = tmp_path / "hello_2.deb"
    file.touch()

    assert install(root, files=[str(file)]).installed == ["libhello", "hello"]
    assert install(root, files=[str(file)]) == packages.Done(False, [], [])


def test_package_file_that_is_not_there_is_refused(world, root):
    with pytest.raises(PackagesRefused, match="no such file; expected a Debian package"):
        install(root, files=["/nosuch.deb"])


def test_package_that_does_not_fit_on_the_disk_is_refused_before_anything_is_changed(
    world, root, monkeypatch
):
    monkeypatch.setattr(apt_trouble.room, "__kwdefaults__", {"archives": str(root), "installed": str(root)})

    with pytest.raises(
        PackagesRefused, match=r"is too full: \d+ MiB are needed, \d+ MiB are free. No package was changed"
    ):
        install(root, "huge")
    assert not any(root.iterdir())


def test_installation_whose_script_failed_is_gone_on_with_by_the_next_run(world, root):
    world.write(postinst_fails="hello")
    with pytest.raises(PackagesRefused, match="dpkg: error processing package"):
        install(root, "hello")
    assert noted(root) == [["hello", "libhello"]]

    world.write(postinst_fails=None)
    assert install(root, "hello").changed
    assert world.read()["installed"]["hello"]["status"] == "installed"
    assert install(root, "hello") == packages.Done(False, [], [])
    undo.undo("tools", root)
    assert world.names == ["libc6", "mail"]


def test_installation_whose_script_fails_can_be_taken_back(world, root):
    world.write(postinst_fails="hello")
    with pytest.raises(PackagesRefused):
        install(root, "hello")

    assert undo.undo("tools", root) == (["packages apt"], [])
    assert world.names == ["libc6", "mail"]


def test_run_that_was_killed_while_triggers_ran_for_others_is_gone_on_with(world, root, monkeypatch):
    def killed(self, wanted):
        world.install("man-db", status="half-configured")
        world.write(interrupted=True, archive={**ARCHIVE, "man-db": {"version": "1"}})
        raise KeyboardInterrupt

    monkeypatch.setattr(Apt, "install", killed)
    with pytest.raises(KeyboardInterrupt):
        install(root, "hello")
    monkeypatch.undo()
    monkeypatch.setenv("FAKE_APT", str(world.place))
    monkeypatch.setenv("PATH", f"{world.place.parent}/bin:{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setattr(apt_trouble, "LOCKS", ())

    assert install(root, "hello").installed == ["libhello", "hello"]
    assert world.read()["installed"]["man-db"]["status"] == "installed"


def killed(*_):
    raise KeyboardInterrupt


def test_package_that_was_half_unpacked_by_a_killed_run_is_installed_anew(world, root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Apt, "install", killed)
        with pytest.raises(KeyboardInterrupt):
            install(root, "hello")
    world.install("libhello", status="half-installed")

    assert install(root, "hello").installed == ["libhello", "hello"]
    assert world.called("dpkg --force-remove-reinstreq --remove libhello")
    assert world.read()["installed"]["libhello"]["status"] == "installed"
    undo.undo("tools", root)
    assert world.names == ["libc6", "mail"]


def test_wreck_of_ours_that_dpkg_cannot_go_on_with_is_an_error(world, root):
    world.write(postinst_fails="hello")
    with pytest.raises(PackagesRefused):
        install(root, "hello")
    with pytest.raises(PackagesRefused, match="dpkg: error processing"):
        install(root, "hello")
    world.write(postinst_fails="libhello")
    world.install("hello", version="2")
    world.install("libhello", status="half-configured")

    with pytest.raises(PackagesRefused, match=r"dpkg cannot continue it: libhello \(half-configured\)"):
        install(root, "hello")


def test_wreck_that_was_there_before_is_named_and_left(world, root):
    world.install("theirs", status="half-configured")

    with pytest.raises(PackagesRefused, match=r"interrupted before labkit ran: theirs \(half-configured\)"):
        install(root, "hello")
    assert not world.called("--configure")
    assert not any(root.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_what_another_apt_is_in_the_midst_of_is_waited_for(world, root, monkeypatch, there):
    """Updates that are due run after a boot; also where nothing is missing."""
    world.install("theirs", status="half-configured")
    if there:
        for name in ("libhello", "hello"):
            world.install(name, version=ARCHIVE[name]["version"])
    monkeypatch.setattr(apt_trouble, "wait_for_locks", lambda _: world.install("theirs"))

    assert install(root, "hello").installed == ([] if there else ["libhello", "hello"])
    assert not world.called("--configure")


def test_failed_download_leaves_no_note(world, root):
    world.write(stale=True, offline=True)

    with pytest.raises(PackagesRefused, match="cannot be reached"):
        install(root, "hello")
    assert not (root / DIRECTORY).exists()


def test_configuration_that_was_there_before_stays(world, root):
    world.install("hello", status="config-files")

    install(root, "hello")
    undo.undo("tools", root)

    assert world.read()["installed"]["hello"]["status"] == "config-files"
    assert "libhello" not in world.names


def test_package_that_somebody_removed_since_is_no_trouble(world, root):
    install(root, "hello")
    left = world.read()["installed"]
    del left["hello"]
    world.write(installed=left)

    assert undo.undo("tools", root) == (["packages apt"], [])
    assert world.names == ["libc6", "mail"]


def test_undo_that_would_take_a_package_of_somebody_else_along_is_refused_by_name(world, root):
    install(root, "hello")
    world.install("greet")

    predicted = undo.undo("tools", root, check=True)
    done, [left] = undo.undo("tools", root)

    assert predicted == (done, [left])
    assert done == []
    assert (
        "removing what labkit added would affect other packages: greet removed. Nothing was removed" in left
    )
    assert {"hello", "libhello", "greet"} <= set(world.names)
    assert noted(root) == [["hello", "libhello"]]


def test_undo_of_what_is_broken_and_would_be_repaired_first_is_not_predicted_to_fail(world, root):
    install(root, "hello")
    world.write(interrupted=True)

    assert undo.undo("tools", root, check=True) == (["packages apt"], [])
    assert not world.called("--configure")


def test_what_two_roles_ask_for_stays_until_both_are_undone(world, root):
    install(root, "hello", role="one")
    install(root, "hello", role="two")

    assert undo.undo("one", root)[1] == []
    assert {"hello", "libhello"} <= set(world.names)
    assert undo.undo("two", root)[1] == []
    assert world.names == ["libc6", "mail"]


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_roles_whose_packages_need_each_other_are_undone_in_any_order(world, root, order):
    install(root, "hello", role="one")
    install(root, "greet", role="two")

    for role in order:
        assert undo.undo(role, root)[1] == []

    assert world.names == ["libc6", "mail"]
    assert not (root / DIRECTORY).exists()


def test_packages_are_kept_and_stay_written_down_when_asked(world, root):
    install(root, "hello")

    assert undo.undo("tools", root, keep=["packages"]) == ([], [])
    assert "hello" in world.names
    assert noted(root) == [["hello", "libhello"]]


def test_unknown_kind_to_keep_is_refused(root):
    with pytest.raises(ValueError, match="keep: package: expected some of"):
        undo.undo("tools", root, keep=["package"])


def test_apt_that_somebody_else_uses_is_waited_for_and_its_process_named(world, root, tmp_path):
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(
                PackagesRefused, match=rf"apt is in use: process {other.pid} \(.*held.*\) holds .*/lock"
            ):
                install(root, "hello")
        finally:
            other.kill()
    assert "hello" not in world.names

    assert install(root, "hello").changed


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "the disk is full"),
        (
            "dpkg: error processing archive x.deb (--unpack):\n cannot copy: No space left on device",
            "the disk is full",
        ),
        (
            "Err:1 http://deb bookworm\n  Could not connect to 198.18.0.1:80",
            "the package archive cannot be reached",
        ),
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)",
            "apt is in use: E: Could",
        ),
        ("E: Package 'libfoo' has no installation candidate", "no package libfoo is in the index"),
        (
            "The following packages have unmet dependencies:\n a : Depends: b (>= 2) but 1 is to be installed\n"
            "E: Unable to correct problems, you have held broken packages.",
            "apt-get failed with exit code 100: a : Depends: b (>= 2) but 1 is to be installed; E: Unable to correct",
        ),
    ],
)
def test_failures_of_apt_are_reported_in_plain_words(output, expected):
    assert expected in str(apt_trouble.explain(Done(("apt-get", "install"), 100, output)))


def test_environment_asks_nobody_and_restarts_nothing(world, root, tmp_path, monkeypatch):
    (tmp_path / "bin/tell").write_text('#!/bin/sh\nenv; read line || echo "no input"\n')
    (tmp_path / "bin/tell").chmod(0o755)
    monkeypatch.delenv("SUDO_UID", raising=False)

    printed = apt.run("tell").output

    for line in (
        "DEBIAN_FRONTEND=noninteractive",
        "NEEDRESTART_SUSPEND=1",
        "LC_ALL=C",
        "SUDO_FORCE_REMOVE=yes",
        "no input",
    ):
        assert line in printed.splitlines()
    monkeypatch.setenv("SUDO_UID", "1000")
    assert "SUDO_FORCE_REMOVE" not in apt.run("tell").output


def test_host_without_a_package_manager_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)

    with pytest.raises(PackagesRefused, match="neither apt-get nor dnf"):
        packages.of_host()
