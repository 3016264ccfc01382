"""The table of sabotages is whole, its scripts are scripts, and whoever carries them out tells the truth."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cases import CASES
from fakes import desired

from labkit.doctor.host import PROMISES
from tests.infra.sabotage import Saboteur
from tests.infra.sabotages import SABOTAGES, Sabotage
from tests.infra.sabotages.ways import cover, covered, put_back, uncover, written

WANTED = {name: value for case in CASES.values() for name, value in case.wanted.items()}
IDS = [f"{sabotage.promise}-{number}" for number, sabotage in enumerate(SABOTAGES)]


def test_every_promise_has_a_sabotage_and_every_sabotage_a_promise():
    ids = {promise.id for promise in PROMISES}

    assert {sabotage.promise for sabotage in SABOTAGES} == ids
    assert {other for sabotage in SABOTAGES for other in sabotage.also} <= ids


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=IDS)
def test_sabotage_breaks_by_a_command_that_a_shell_takes_or_by_wanting_otherwise(sabotage):
    host = desired(**WANTED)
    breaks, mends, wants = sabotage.breaks(host), sabotage.mends(host), sabotage.wants(host)

    assert bool(wants) != (breaks != ":")
    assert wants or mends != ":"
    for script in (breaks, mends):
        done = subprocess.run(["/bin/sh", "-n", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}: {done.stderr}"
        assert "{" not in script.replace("{print", "")


def test_nic_of_which_only_queues_are_asked_is_wanted_with_more():
    [sabotage] = [one for one in SABOTAGES if one.promise == "af_xdp.queues"]
    host = desired(
        **{**WANTED, "af_xdp_interfaces": [{"name": "ens5", "queues": 1, "mtu": None, "features": None}]}
    )

    assert sabotage.breaks(host) == ":"
    assert sabotage.wants(host)["af_xdp_interfaces"][0]["queues"] == 2


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=IDS)
def test_what_a_killed_run_broke_can_be_mended_whatever_is_asked_for_by_now(sabotage):
    unwanted = {**WANTED, **{name: value for case in CASES.values() for name, value in case.unwanted.items()}}

    assert sabotage.mends(desired(**unwanted))


class Shell:
    """This machine as whoever runs the tests."""

    def run(self, command: str, *args: str):
        done = subprocess.run(["/bin/sh", "-c", args[0]], capture_output=True, text=True, check=False)
        said = {"stdout": done.stdout, "stdout_bytes": done.stdout.encode(), "stderr": done.stderr}
        return type("Done", (), {"rc": done.returncode, **said})


@pytest.fixture
def knob(tmp_path, monkeypatch):
    """A file in the place of one of /proc/sys, that a promise is made of."""
    monkeypatch.setattr("tests.infra.sabotages.ways.FOLDER", str(tmp_path / "kept"))
    file = tmp_path / "stat_interval"
    file.write_text("10\n")
    return file


def saboteur(knob: Path, wanted: str = "10", **options: bool) -> Saboteur:
    setting = {"path": str(knob), "value": wanted, "reads_as": "int"}
    return Saboteur(Shell(), desired(**{**WANTED, "cpu_isolation_settings": [setting]}), **options)


@pytest.fixture
def promise(knob, monkeypatch):
    """A promise about that file."""
    from labkit.doctor.host.model import Promise, compare
    from tests.infra import sabotage

    def check(reader, desired):
        found = reader.look(files=[str(knob)]).text(str(knob))
        return compare([("s", desired["cpu_isolation_settings"][0]["value"], found)], found)

    monkeypatch.setitem(
        sabotage.BY_ID, "test.knob", Promise(id="test.knob", text="the file is so", check=check)
    )
    return "test.knob"


def one(who: Saboteur, sabotage: Sabotage) -> tuple[str, str]:
    [result] = who.tried([sabotage])
    return result.verdict, result.told


def test_broken_promise_is_caught_and_mended(knob, promise):
    assert one(saboteur(knob), written(promise, str(knob), "77")) == ("caught", "expected s 10, found s 77")
    assert knob.read_text() == "10\n"
    assert not (knob.parent / "kept" / "test.knob.stat_interval").exists()


def test_sabotage_that_its_check_does_not_see_is_told(knob, promise):
    blind = Sabotage(promise=promise, breaks=lambda desired: "true")

    assert one(saboteur(knob), blind)[0] == "MISSED"


def test_sabotage_that_does_not_take_is_told(knob, promise):
    assert one(saboteur(knob), written(promise, str(knob.parent / "none" / "file"), "77"))[0] == "NOT BROKEN"


def test_what_is_not_mended_is_told(knob, promise):
    lasting = Sabotage(promise=promise, breaks=lambda desired: f"echo 77 >{knob}")

    assert one(saboteur(knob), lasting)[0] == "NOT MENDED"


def test_promise_that_was_broken_before_is_no_catch(knob, promise):
    assert one(saboteur(knob, wanted="11"), written(promise, str(knob), "77"))[0] == "BROKEN BEFORE"
    assert knob.read_text() == "10\n"


def test_other_value_wanted_breaks_without_a_command(knob, promise):
    setting = {"path": str(knob), "value": "12", "reads_as": "int"}
    other = Sabotage(promise=promise, wants=lambda desired: {"cpu_isolation_settings": [setting]})

    assert one(saboteur(knob), other) == ("caught", "expected s 12, found s 10")


def test_killed_in_between_the_old_value_is_still_kept(knob, promise):
    sabotage = written(promise, str(knob), "77")
    for _ in range(2):  # the second run finds the sabotaged value, and must not keep that one
        subprocess.run(["/bin/sh", "-c", sabotage.breaks(desired())], check=True)
    assert knob.read_text() == "77\n"

    subprocess.run(["/bin/sh", "-c", put_back(str(knob), "test.knob.stat_interval")], check=True)

    assert knob.read_text() == "10\n"


def test_covering_names_one_file_for_each_path():
    assert cover("/proc/cmdline", "x") != cover("/sys/cmdline", "x")
    assert uncover("/proc/cmdline") in covered("boot.arguments", "/proc/cmdline", "x").mends(desired())
