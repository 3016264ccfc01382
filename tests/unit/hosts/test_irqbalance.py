"""irqbalance is configured by files of our own, and judged by what the running one was given."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    environment_files,
    irqbalance,
    irqbalance_bans,
    undo,
)
from ansible_collections.labkit.host.plugins.module_utils.state import State


class Systemd:
    """Starts irqbalance with the environment of its files, as systemd does: the last one counts."""

    def __init__(self, root):
        self.root = root
        self.pid = 0
        self.loaded = True
        self.environment = "Environment="
        self.files = [root / "etc/default/irqbalance"]
        self.asked: list[tuple[str, ...]] = []
        (root / "run/systemd/system").mkdir(parents=True)

    def start(self):
        self.pid += 100
        process = self.root / f"proc/{self.pid}"
        process.mkdir(parents=True)
        given = [
            (one.name, one.value)
            for file in self.files
            if file.exists()
            for one in environment_files.parse(file.read_text(errors="replace"))
        ]
        process.joinpath("environ").write_text(
            "".join(f"{name}={value}\0" for name, value in dict(given).items())
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
        elif "--property=Environment,EnvironmentFiles" in words:
            files = [f"/{file.relative_to(self.root)}" for file in self.files]
            return "\n".join(
                [self.environment, *(f"EnvironmentFiles={path} (ignore_errors=yes)" for path in files)]
            )
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


def banned_in_process(systemd):
    environment = (systemd.root / f"proc/{systemd.pid}/environ").read_text()
    return irqbalance_bans.of_process(environment.replace("\0", "\n")).cores


@pytest.mark.parametrize(
    ("text", "cores", "unread"),
    [
        ("", set(), False),
        ("1-2,5", {1, 2, 5}, False),
        (" 1", {1}, False),
        ("0-", {0}, False),
        ("1,,2", {0, 1, 2}, False),
        ("1,", {1}, False),
        ("-", set(), True),
        ("1-", set(), True),
        ("1, 3", {1}, True),
        ("1-3 # isolated", set(), True),
        ("1,foo", {1}, True),
        ("3-1", set(), True),
        ("0-5000", set(), True),
        ("1-N", set(), True),
    ],
)
def test_list_is_read_as_far_as_irqbalance_reads_it(text, cores, unread):
    """Each of them was given to irqbalance 1.9.2, which prints the cores with --debug."""
    bans = irqbalance_bans.of({"IRQBALANCE_BANNED_CPULIST": text})

    assert (bans.cores, bans.unread) == (cores, unread)


@pytest.mark.parametrize(
    ("text", "cores", "unread"),
    [
        ("00000001,00000004", {2, 32}, False),
        ("00000000,00000004", {2}, False),
        ("FF", set(range(8)), False),
        (" 3", {0, 1}, False),
        ("0x2", set(), True),
        ("3,zz", {0, 1}, True),
        ("123456789", set(), True),
        ("3 4", set(), True),
        ("3 ,4", set(), True),
    ],
)
def test_mask_is_read_as_far_as_irqbalance_reads_it(text, cores, unread):
    bans = irqbalance_bans.of({"IRQBALANCE_BANNED_CPUS": text})

    assert (bans.cores, bans.unread) == (cores, unread)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("", set()),
        ("#IRQBALANCE_BANNED_CPULIST=1\n", set()),
        ('IRQBALANCE_BANNED_CPULIST="1-2,5"\n', {1, 2, 5}),
        ("IRQBALANCE_BANNED_CPUS=00000001,00000004\n", {2, 32}),
        ("IRQBALANCE_BANNED_CPUS=f\nIRQBALANCE_BANNED_CPULIST=3\n", {0, 1, 2, 3}),
        ("IRQBALANCE_BANNED_CPUS=\nIRQBALANCE_BANNED_CPULIST=3\n", {3}),
        ("IRQBALANCE_BANNED_CPULIST=1\nIRQBALANCE_BANNED_CPULIST=3\n", {3}),
        ("IRQBALANCE_BANNED_CPULIST=\n", set()),
        ("export IRQBALANCE_BANNED_CPULIST=3\n", set()),
        ("IRQBALANCE_BANNED_CPULIST=1,\\\n3\n", {1, 3}),
        ("; caf\ufffd\n  IRQBALANCE_BANNED_CPULIST = '3'\n", {3}),
    ],
)
def test_what_a_file_bans_is_read_as_systemd_and_irqbalance_read_it(text, cores):
    given = {one.name: one.value for one in environment_files.parse(text)}

    assert irqbalance_bans.of(given).cores == cores


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB=2", [("A", "1", 1), ("B", "2", 2)]),
        ("# A=1\n;B=2\n\nC=3", [("C", "3", 4)]),
        ("A = b c  \n", [("A", "b c", 1)]),
        ("A='b\nc' d\nB=1\n", [("A", "b\ncd", 1), ("B", "1", 3)]),
        ('A="\\"b\\$c\\d"', [("A", '"b$c\\d', 1)]),
        ("A=b\\\nc\nB", [("A", "bc", 1)]),
        ("1A=b\nexport C=d\n", []),
        ("A=\nB=", [("A", "", 1), ("B", "", 2)]),
        ("A=1\r\nB=2\r\n", [("A", "1", 1), ("B", "2", 2)]),
        ("A='b", [("A", "b", 1)]),
    ],
)
def test_environment_file_is_read_as_systemd_reads_it(text, found):
    assert [(one.name, one.value, one.line) for one in environment_files.parse(text)] == found


def test_dash_bans_nothing_and_is_no_trouble(systemd):
    theirs(systemd, "IRQBALANCE_BANNED_CPULIST=-\n")
    systemd.start()

    assert ban(systemd) == (True, "banned cores: 1-3", [])
    assert banned_in_process(systemd) == {1, 2, 3}


def test_what_irqbalance_does_not_read_is_reported_with_file_and_line(systemd):
    theirs(systemd, "# ours\nIRQBALANCE_BANNED_CPULIST=7, 8\n")

    (note,) = ban(systemd)[2]

    assert note.startswith(
        "/etc/default/irqbalance:2: IRQBALANCE_BANNED_CPULIST='7, 8': irqbalance takes cores 7"
    )


def test_mask_of_the_user_does_not_count_before_our_list(systemd):
    theirs(systemd, "IRQBALANCE_BANNED_CPUS=80\n")
    systemd.start()
    assert banned_in_process(systemd) == {7}

    ban(systemd)

    assert banned_in_process(systemd) == {1, 2, 3, 7}


def test_ban_that_a_unit_has_in_its_environment_stays(systemd):
    systemd.environment = 'Environment=LANG=C "IRQBALANCE_BANNED_CPULIST=6,7"'
    systemd.start()

    ban(systemd)

    assert banned_in_process(systemd) == {1, 2, 3, 6, 7}


def test_file_that_is_not_utf8_is_read_nevertheless(systemd):
    theirs(systemd, "").write_bytes(b"# caf\xe9\nIRQBALANCE_BANNED_CPULIST=7\n")
    systemd.start()

    ban(systemd)

    assert banned_in_process(systemd) == {1, 2, 3, 7}


def test_running_irqbalance_is_restarted_once_with_the_cores(systemd):
    systemd.start()

    assert ban(systemd) == (True, "banned cores: 1-3", [])
    assert banned_in_process(systemd) == {1, 2, 3}
    assert ban(systemd)[0] is False
    assert systemd.changed() == ["daemon-reload", "try-restart"]


def test_cores_that_the_user_bans_stay_banned_and_the_users_file_is_left_alone(systemd):
    file = theirs(systemd, "IRQBALANCE_BANNED_CPULIST=7\n")
    systemd.start()

    ban(systemd)

    assert banned_in_process(systemd) == {1, 2, 3, 7}
    assert file.read_text() == "IRQBALANCE_BANNED_CPULIST=7\n"


def test_run_that_broke_off_before_the_restart_is_repaired_by_the_next(systemd):
    systemd.start()
    ban(systemd)
    systemd.files = systemd.files[:1]
    systemd.start()  # runs, and did not read them

    assert ban(systemd, check=True)[0] is True
    assert ban(systemd)[0] is True
    assert banned_in_process(systemd) == {1, 2, 3}


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
    assert banned_in_process(systemd) == {1, 2, 3}


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
    assert banned_in_process(systemd) == {7}
    assert State("cpu_isolation", systemd.root).changes() == []
    assert sorted(path.name for path in (systemd.root / "etc").rglob("*")) == ["default", "irqbalance"]


@pytest.mark.parametrize("missing", ["systemd", "irqbalance"])
def test_host_without_it_is_left_alone(systemd, missing):
    systemd.loaded = missing != "irqbalance"
    if missing == "systemd":
        (systemd.root / "run/systemd/system").rmdir()

    assert ban(systemd)[0] is False
    assert not (systemd.root / "etc").exists()
