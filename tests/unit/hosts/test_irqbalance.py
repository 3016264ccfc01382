"""irqbalance is told by files of our own, and judged by what the running one was told."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import irqbalance, undo
from ansible_collections.labkit.host.plugins.module_utils.state import State


class Systemd:
    """Starts irqbalance with the environment of its files, as systemd does: the last one counts."""

    def __init__(self, root):
        self.root = root
        self.pid = 0
        self.loaded = True
        self.files = [root / "etc/default/irqbalance"]
        self.asked: list[tuple[str, ...]] = []
        (root / "run/systemd/system").mkdir(parents=True)

    def start(self):
        self.pid += 100
        process = self.root / f"proc/{self.pid}"
        process.mkdir(parents=True)
        lines = "\n".join(file.read_text() for file in self.files if file.exists()).splitlines()
        process.joinpath("environ").write_text(
            "\0".join(line for line in lines if not line.startswith("#")) + "\0"
        )

    def __call__(self, *words):
        self.asked.append(words)
        if words[0] == "daemon-reload":
            drop_in = self.root / irqbalance.DROP_IN.lstrip("/")
            self.files = self.files[:1] + (
                [self.root / irqbalance.ENVIRONMENT[1:]] if drop_in.exists() else []
            )
        elif words[0] == "try-restart" and self.pid:
            self.start()
        elif "--property=LoadState" in words:
            return "loaded" if self.loaded else "not-found"
        elif "--property=MainPID" in words:
            return str(self.pid)
        return ""

    def changed(self):
        return [words[0] for words in self.asked if words[0] != "show"]


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    systemd = Systemd(tmp_path)
    monkeypatch.setattr(irqbalance, "systemctl", systemd)
    return systemd


def ban(systemd, isolated="1-3", **more):
    return irqbalance.change("cpu_isolation", isolated, root=systemd.root, systemctl=systemd, **more)


def theirs(systemd, text):
    file = systemd.root / "etc/default/irqbalance"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def told(systemd):
    return irqbalance.banned((systemd.root / f"proc/{systemd.pid}/environ").read_text().replace("\0", "\n"))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("", set()),
        ("#IRQBALANCE_BANNED_CPULIST=1\n", set()),
        ('IRQBALANCE_BANNED_CPULIST="1-2,5"\n', {1, 2, 5}),
        ("IRQBALANCE_BANNED_CPUS=00000001,00000004\n", {2, 32}),
        ("IRQBALANCE_BANNED_CPUS=ff\nIRQBALANCE_BANNED_CPULIST=3\n", {3}),
        ("IRQBALANCE_BANNED_CPULIST=1\nIRQBALANCE_BANNED_CPULIST=3\n", {3}),
        ("IRQBALANCE_BANNED_CPULIST=\n", set()),
    ],
)
def test_what_a_file_bans_is_read_as_irqbalance_reads_it(text, cores):
    assert irqbalance.banned(text) == cores


def test_running_irqbalance_is_restarted_once_with_the_cores(systemd):
    systemd.start()

    assert ban(systemd) == (True, "banned cores: 1-3")
    assert told(systemd) == {1, 2, 3}
    assert ban(systemd)[0] is False
    assert systemd.changed() == ["daemon-reload", "try-restart"]


def test_cores_that_the_user_bans_stay_banned_and_the_users_file_is_left_alone(systemd):
    file = theirs(systemd, "IRQBALANCE_BANNED_CPULIST=7\n")
    systemd.start()

    ban(systemd)

    assert told(systemd) == {1, 2, 3, 7}
    assert file.read_text() == "IRQBALANCE_BANNED_CPULIST=7\n"


def test_run_that_broke_off_before_the_restart_is_mended_by_the_next(systemd):
    systemd.start()
    ban(systemd)
    systemd.files = systemd.files[:1]
    systemd.start()  # runs, and was not told

    assert ban(systemd, check=True)[0] is True
    assert ban(systemd)[0] is True
    assert told(systemd) == {1, 2, 3}


def test_irqbalance_that_does_not_run_is_not_started(systemd):
    assert ban(systemd)[0] is True
    assert ban(systemd)[0] is False
    assert systemd.changed() == ["daemon-reload"]


def test_irqbalance_that_runs_without_them_nevertheless_is_an_error(systemd, monkeypatch):
    systemd.start()

    def deaf(*words):
        return "" if words[0] in ("daemon-reload", "try-restart") else systemd(*words)

    monkeypatch.setattr(irqbalance, "START_S", 0.0)
    with pytest.raises(irqbalance.IrqbalanceFailed, match="runs without IRQBALANCE_BANNED_CPULIST=1-3"):
        irqbalance.change("cpu_isolation", "1-3", root=systemd.root, systemctl=deaf)


def test_irqbalance_that_takes_a_moment_to_start_is_waited_for(systemd):
    systemd.start()
    asked = []

    def slow(*words):
        """systemd's own child, before it has become irqbalance."""
        if words[0] == "try-restart":
            asked.append(words)
            return ""
        if asked and words[:2] == ("show", "--property=MainPID"):
            asked.append(words)
            if len(asked) == 4:
                systemd("try-restart", irqbalance.UNIT)
        return systemd(*words)

    assert irqbalance.change("cpu_isolation", "1-3", root=systemd.root, systemctl=slow)[0] is True
    assert told(systemd) == {1, 2, 3}


def test_check_mode_changes_nothing(systemd):
    systemd.start()

    assert ban(systemd, check=True)[0] is True
    assert systemd.changed() == []
    assert not (systemd.root / "etc").exists()


def test_undo_starts_it_as_it_was(systemd):
    theirs(systemd, "IRQBALANCE_BANNED_CPULIST=7\n")
    systemd.start()
    ban(systemd)

    done, left = undo.undo("cpu_isolation", systemd.root)

    assert left == []
    assert done[-1] == "irqbalance irqbalance.service"  # after its files
    assert told(systemd) == {7}
    assert State("cpu_isolation", systemd.root).changes() == []
    assert sorted(path.name for path in (systemd.root / "etc").rglob("*")) == ["default", "irqbalance"]


@pytest.mark.parametrize("missing", ["systemd", "irqbalance"])
def test_host_without_it_is_left_alone(systemd, missing):
    systemd.loaded = missing != "irqbalance"
    if missing == "systemd":
        (systemd.root / "run/systemd/system").rmdir()

    assert ban(systemd)[0] is False
    assert not (systemd.root / "etc").exists()
