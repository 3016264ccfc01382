"""What the module revert tells besides what it put back."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.labkit.host.plugins.module_utils import packages, undo
from ansible_collections.labkit.host.plugins.modules import revert as module


@pytest.mark.parametrize(("done", "told"), [(["packages apt"], True), (["file /x"], False)])
def test_package_that_stays_upgraded_is_named_where_the_packages_go(monkeypatch, capsys, done, told):
    monkeypatch.setattr(packages, "upgraded", lambda _: ["libc6=1"])
    monkeypatch.setattr(undo, "undo", lambda **_: (done, []))
    with patch_module_args({"role": "dpdk"}), pytest.raises(SystemExit):
        module.main()

    warnings = json.loads(capsys.readouterr().out).get("warnings", [])
    assert [str(one) for one in warnings if "libc6=1" in str(one)] == [str(one) for one in warnings]
    assert bool(warnings) is told
