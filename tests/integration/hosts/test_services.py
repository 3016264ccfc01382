"""Units are made as they are wanted, looked at again, and put back as they were."""

from __future__ import annotations

import json
import sys

import pytest
from ansible_collections.labkit.host.plugins.module_utils import services, undo
from ansible_collections.labkit.host.plugins.module_utils.state import State

FAKE = f"""#!{sys.executable} -IS
import json, pathlib, sys
place = pathlib.Path(__file__).with_name("units.json")
units = json.loads(place.read_text())
verb, unit = sys.argv[2], sys.argv[-1]
if verb == "show":
    one = units.get(unit)
    if one is None:
        print("LoadState=not-found\\nActiveState=inactive\\nUnitFileState=")
    else:
        print(f"LoadState=loaded\\nActiveState={{one['active']}}\\nUnitFileState={{one['file']}}")
    sys.exit()
if units[unit].get("stubborn"):
    sys.exit(0 if verb == "start" else "Access denied")
units[unit].update({{"enable": {{"file": "enabled"}}, "disable": {{"file": "disabled"}},
                    "start": {{"active": "active"}}, "stop": {{"active": "inactive"}}}}[verb])
place.write_text(json.dumps(units))
"""
UNIT = "irqbalance.service"


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text(FAKE)
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    units(tmp_path, {UNIT: {"file": "enabled", "active": "active"}})
    return tmp_path


def units(root, new=None):
    if new is not None:
        (root / "bin/units.json").write_text(json.dumps(new))
    return json.loads((root / "bin/units.json").read_text())


def test_unit_is_stopped_and_disabled_once_and_comes_back(root):
    before = units(root)

    assert services.change("cpu", UNIT, enabled=False, running=False, root=root, check=True)
    assert units(root) == before
    assert services.change("cpu", UNIT, enabled=False, running=False, root=root)
    assert units(root) == {UNIT: {"file": "disabled", "active": "inactive"}}
    assert not services.change("cpu", UNIT, enabled=False, running=False, root=root)

    assert undo.undo("cpu", root) == ([f"service {UNIT}"], [])
    assert units(root) == before


def test_only_what_was_asked_for_is_changed_and_reverted(root):
    services.change("cpu", UNIT, running=False, root=root)
    assert units(root)[UNIT] == {"file": "enabled", "active": "inactive"}
    units(root, {UNIT: {"file": "disabled", "active": "inactive"}})  # by somebody else

    undo.undo("cpu", root)

    assert units(root)[UNIT] == {"file": "disabled", "active": "active"}


def test_what_an_earlier_call_changed_of_a_unit_is_reverted_too(root):
    before = units(root)
    services.change("cpu", UNIT, enabled=False, root=root)
    services.change("cpu", UNIT, running=False, root=root)

    undo.undo("cpu", root)

    assert units(root) == before


def test_unit_that_is_not_there_is_as_good_as_stopped_and_cannot_be_started(root):
    assert not services.change("cpu", "nosuch.service", enabled=False, running=False, root=root)
    with pytest.raises(services.ServiceFailed, match="this host has no such unit"):
        services.change("cpu", "nosuch.service", running=True, root=root)
    assert State("cpu", root).changes() == []


@pytest.mark.parametrize(
    ("file", "wanted", "expected"),
    [
        ("static", {"enabled": True}, "its unit file is static"),
        ("masked", {"running": True}, "it is masked"),
    ],
)
def test_what_systemd_would_not_do_is_refused_first(root, file, wanted, expected):
    units(root, {UNIT: {"file": file, "active": "inactive"}})

    with pytest.raises(services.ServiceFailed, match=expected):
        services.change("cpu", UNIT, **wanted, root=root)
    assert State("cpu", root).changes() == []


def test_unit_that_says_it_started_and_did_not_is_an_error(root):
    units(root, {UNIT: {"file": "enabled", "active": "failed", "stubborn": True}})

    with pytest.raises(
        services.ServiceFailed, match="expected it to be running, found enabled and not running"
    ):
        services.change("cpu", UNIT, running=True, root=root)


def test_unit_that_cannot_be_reverted_is_named(root):
    services.change("cpu", UNIT, enabled=False, root=root)
    units(root, {UNIT: {"file": "disabled", "active": "active", "stubborn": True}})

    done, [left] = undo.undo("cpu", root)

    assert done == []
    assert "enable -- irqbalance.service: Access denied" in left


def test_unit_whose_package_went_needs_no_putting_back(root):
    services.change("cpu", UNIT, running=False, root=root)
    units(root, {})

    assert undo.undo("cpu", root) == ([f"service {UNIT}"], [])
