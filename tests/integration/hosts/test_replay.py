"""After a boot what was noted with persist is made again, and one that fails stops no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import replay, replay_unit, services, settings, undo
from ansible_collections.labkit.host.plugins.module_utils.state import State

COLLECTIONS = Path(__file__).parents[3] / "ansible/collections"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "proc/sys").mkdir(parents=True)
    for name in ("one", "two", "three"):
        (tmp_path / "proc/sys" / name).write_text("0\n")
    return tmp_path


def tune(root, name, value, *, role="tune", persist=True):
    settings.change(role, settings.Setting(f"/proc/sys/{name}", root=root), value, persist=persist)


def boot(root):
    for path in (root / "proc/sys").iterdir():
        path.write_text("0\n")


def values(root):
    return {path.name: path.read_text().strip() for path in (root / "proc/sys").iterdir()}


def test_only_what_is_to_persist_is_made_again_and_the_old_values_stay(root):
    tune(root, "one", "1")
    tune(root, "two", "2", persist=False)
    tune(root, "three", "3", role="other")
    boot(root)

    replayed = list(replay.replay(root))

    assert replayed == [("other: setting /proc/sys/three", None), ("tune: setting /proc/sys/one", None)]
    assert values(root) == {"one": "1", "two": "0", "three": "3"}
    undo.undo("tune", root)
    assert values(root)["one"] == "0"


def test_one_that_fails_is_reported_and_the_others_are_made(root):
    tune(root, "one", "1")
    tune(root, "two", "2")
    boot(root)
    (root / "proc/sys/one").unlink()
    State("future", root).note("of_tomorrow", "/x", None, None, persist=True)
    (State("broken", root).path).write_text("{")

    replayed = dict(replay.replay(root, patience_s=0))

    assert replayed["tune: setting /proc/sys/two"] is None
    assert "No such file" in replayed["tune: setting /proc/sys/one"]
    assert "not made again at boot" in replayed["future: of_tomorrow /x"]
    assert "not a state file" in replayed["broken"]
    assert values(root) == {"two": "2", "three": "0"}


def test_device_that_appears_late_is_waited_for(root):
    tune(root, "one", "1")
    boot(root)
    (root / "proc/sys/one").unlink()
    times = iter(range(100))

    def sleep(_):
        if next(times) == 3:
            (root / "proc/sys/one").write_text("0\n")

    assert list(replay.replay(root, patience_s=1e9, sleep=sleep)) == [("tune: setting /proc/sys/one", None)]
    assert values(root)["one"] == "1"


def test_what_a_role_changes_or_takes_back_meanwhile_is_not_made_as_it_was(root):
    tune(root, "one", "1")
    tune(root, "two", "2")
    boot(root)
    for name in ("one", "two"):
        (root / "proc/sys" / name).unlink()

    def sleep(_):
        for name in ("one", "two"):
            (root / "proc/sys" / name).write_text("0\n")
        tune(root, "one", "7")
        (root / "proc/sys/one").write_text("0\n")
        undo.undo("tune", root, wanted=["/proc/sys/one"])

    assert list(replay.replay(root, patience_s=1e9, sleep=sleep)) == [("tune: setting /proc/sys/one", None)]
    assert values(root) == {"one": "7", "two": "0", "three": "0"}


def test_notes_that_become_unreadable_meanwhile_are_reported(root):
    tune(root, "one", "1")
    (root / "proc/sys/one").unlink()

    def sleep(_):
        State("tune", root).path.write_text("{")

    [(role, reason)] = replay.replay(root, patience_s=1e9, sleep=sleep)
    assert role == "tune"
    assert reason is not None


def test_waiting_ends(root):
    tune(root, "one", "1")
    (root / "proc/sys/one").unlink()
    clock = iter([0.0, 5.0, 16.0])

    [(name, reason)] = replay.replay(root, clock=lambda: next(clock), sleep=lambda _: None)

    assert (name, "No such file" in reason) == ("tune: setting /proc/sys/one", True)


@pytest.fixture
def installed(root, monkeypatch):
    """By a process of its own, as Ansible does: it imports nothing that the module does not."""
    code = """import pathlib, sys
from ansible_collections.labkit.host.plugins.module_utils import replay_unit, services
services.reload = lambda: None
services.change = lambda *_, **__: False
print(replay_unit.install("replay", root=pathlib.Path(sys.argv[1])))"""
    monkeypatch.setenv("PYTHONPATH", str(COLLECTIONS))
    monkeypatch.setattr(services, "reload", lambda: None)
    monkeypatch.setattr(services, "change", lambda *_, **__: False)

    def run():
        command = [sys.executable, "-c", code, str(root)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert run() == "True"
    assert run() == "False"
    return root


def test_what_is_installed_is_whole_and_runs_alone(installed):
    folder = installed / replay_unit.FOLDER.lstrip("/")
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    code = "import labkit_host.replay as replay; print(*sorted(replay.REPLAY))"

    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd="/",
    )

    assert done.stdout.split() == sorted(replay.REPLAY)
    names = {path.stem for path in (folder / "labkit_host").iterdir()}
    assert "replay" in names
    assert not names & {"undo", "packages", "apt", "snapshot"}


def test_all_of_it_goes_again(installed):
    assert undo.undo("replay", installed)[1] == []
    assert sorted(path.name for path in installed.iterdir()) == ["proc", "var"]


def test_check_mode_installs_nothing(root):
    assert replay_unit.install("replay", root=root, check=True)
    assert [path.name for path in root.iterdir()] == ["proc"]


def test_unit_asks_for_no_default_dependencies_and_keeps_to_its_privileges():
    lines = replay_unit.UNIT_TEXT.splitlines()

    for line in (
        "DefaultDependencies=no",
        "Before=network-pre.target shutdown.target",
        "RemainAfterExit=yes",
        "Restart=on-failure",
        "StartLimitBurst=4",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN",
    ):
        assert line in lines
    assert not any(line.startswith("ProtectKernelTunables") for line in lines)
