"""Every host check has a fault, the scripts are valid, and the injector reports what really happened."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from cases import CASES
from fakes import desired

from labkit.doctor.host import HOST_CHECKS
from tests.infra.fault_injection import FaultInjector
from tests.infra.faults import FAULTS, Fault
from tests.infra.faults.ways import cover, covered, restore, uncover, written

WANTED = {name: value for case in CASES.values() for name, value in case.wanted.items()}
IDS = [f"{fault.check}-{number}" for number, fault in enumerate(FAULTS)]


def test_every_host_check_has_a_fault_and_every_fault_a_host_check():
    ids = {check.id for check in HOST_CHECKS}

    assert {fault.check for fault in FAULTS} == ids
    assert {other for fault in FAULTS for other in fault.also} <= ids


def is_json(word: str) -> bool:
    try:
        json.loads(word)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("fault", FAULTS, ids=IDS)
def test_fault_is_a_valid_shell_command_or_another_wanted_value(fault):
    host = desired(**WANTED)
    inject, revert, wants = fault.inject(host), fault.revert(host), fault.wants(host)

    assert bool(wants) != (inject != ":")
    assert wants or revert != ":"
    for script in (inject, revert):
        done = subprocess.run(["/bin/sh", "-n", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}: {done.stderr}"
        # None of a text that was never formatted: what is left are words of awk, and JSON.
        assert all(is_json(word) for word in shlex.split(script) if "{" in word.replace("{print", "")), script


def test_nic_of_which_only_queues_are_asked_is_wanted_with_more():
    [fault] = [one for one in FAULTS if one.check == "af_xdp.queues"]
    host = desired(
        **{**WANTED, "af_xdp_interfaces": [{"name": "ens5", "queues": 1, "mtu": None, "features": None}]}
    )

    assert fault.inject(host) == ":"
    assert fault.wants(host)["af_xdp_interfaces"][0]["queues"] == 2


@pytest.mark.parametrize("fault", FAULTS, ids=IDS)
def test_fault_of_a_killed_run_can_be_reverted_whatever_is_asked_for_by_now(fault):
    unwanted = {**WANTED, **{name: value for case in CASES.values() for name, value in case.unwanted.items()}}

    assert fault.revert(desired(**unwanted))


class Shell:
    """This machine as whoever runs the tests."""

    def run(self, command: str, *args: str):
        done = subprocess.run(["/bin/sh", "-c", args[0]], capture_output=True, text=True, check=False)
        output = {"stdout": done.stdout, "stdout_bytes": done.stdout.encode(), "stderr": done.stderr}
        return type("Done", (), {"rc": done.returncode, **output})


@pytest.fixture
def tunable(tmp_path, monkeypatch):
    """A file in the place of one of /proc/sys, that a host check reads."""
    monkeypatch.setattr("tests.infra.faults.ways.FOLDER", str(tmp_path / "kept"))
    file = tmp_path / "stat_interval"
    file.write_text("10\n")
    return file


def injector(tunable: Path, wanted: str = "10", **options: bool) -> FaultInjector:
    setting = {"path": str(tunable), "value": wanted, "reads_as": "int"}
    return FaultInjector(Shell(), desired(**{**WANTED, "cpu_isolation_settings": [setting]}), **options)


@pytest.fixture
def check_id(tunable, monkeypatch):
    """A host check of that file."""
    from labkit.doctor.host.model import HostCheck, compare
    from tests.infra import fault_injection

    def check(reader, desired):
        found = reader.look(files=[str(tunable)]).text(str(tunable))
        return compare([("s", desired["cpu_isolation_settings"][0]["value"], found)], found)

    monkeypatch.setitem(
        fault_injection.BY_ID,
        "test.tunable",
        HostCheck(id="test.tunable", text="the file is so", check=check),
    )
    return "test.tunable"


def one(who: FaultInjector, fault: Fault) -> tuple[str, str]:
    [result] = who.results([fault])
    return result.verdict, result.detail


def test_fault_is_detected_and_reverted(tunable, check_id):
    assert one(injector(tunable), written(check_id, str(tunable), "77")) == (
        "detected",
        "expected s 10, found s 77",
    )
    assert tunable.read_text() == "10\n"
    assert not (tunable.parent / "kept" / "test.tunable.stat_interval").exists()


def test_fault_that_its_check_does_not_see_is_reported(tunable, check_id):
    blind = Fault(check=check_id, inject=lambda desired: "true")

    assert one(injector(tunable), blind)[0] == "NOT DETECTED"


def test_fault_that_cannot_be_injected_is_reported(tunable, check_id):
    assert (
        one(injector(tunable), written(check_id, str(tunable.parent / "none" / "file"), "77"))[0]
        == "NOT INJECTED"
    )


def test_fault_that_is_not_reverted_is_reported(tunable, check_id):
    lasting = Fault(check=check_id, inject=lambda desired: f"echo 77 >{tunable}")

    assert one(injector(tunable), lasting)[0] == "NOT REVERTED"


def test_check_that_failed_before_is_not_counted_as_detected(tunable, check_id):
    assert one(injector(tunable, wanted="11"), written(check_id, str(tunable), "77"))[0] == "FAILED BEFORE"
    assert tunable.read_text() == "10\n"


def test_another_wanted_value_is_a_fault_without_a_command(tunable, check_id):
    setting = {"path": str(tunable), "value": "12", "reads_as": "int"}
    other = Fault(check=check_id, wants=lambda desired: {"cpu_isolation_settings": [setting]})

    assert one(injector(tunable), other) == ("detected", "expected s 12, found s 10")


def test_killed_in_between_the_old_value_is_still_kept(tunable, check_id):
    fault = written(check_id, str(tunable), "77")
    for _ in range(2):  # the second run finds the injected value, and must not keep that one
        subprocess.run(["/bin/sh", "-c", fault.inject(desired())], check=True)
    assert tunable.read_text() == "77\n"

    subprocess.run(["/bin/sh", "-c", restore(str(tunable), "test.tunable.stat_interval")], check=True)

    assert tunable.read_text() == "10\n"


def test_covering_names_one_file_for_each_path():
    assert cover("/proc/cmdline", "x") != cover("/sys/cmdline", "x")
    assert uncover("/proc/cmdline") in covered("boot.arguments", "/proc/cmdline", "x").revert(desired())
