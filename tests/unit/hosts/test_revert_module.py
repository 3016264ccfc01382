"""What the module revert tells besides what it put back."""

from __future__ import annotations

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.labkit.host.plugins.module_utils import packages, undo
from ansible_collections.labkit.host.plugins.modules import revert as module


@pytest.mark.parametrize(("done", "expected"), [(["packages apt"], True), (["file /x"], False)])
def test_package_that_stays_upgraded_is_named_where_the_packages_go(monkeypatch, done, expected):
    warnings = []
    monkeypatch.setattr(module.AnsibleModule, "warn", lambda _, text: warnings.append(text))
    monkeypatch.setattr(packages, "upgraded", lambda _: ["libc6=1"])
    monkeypatch.setattr(undo, "undo", lambda **_: (done, []))
    with patch_module_args({"role": "dpdk"}), pytest.raises(SystemExit):
        module.main()

    assert any("libc6=1" in warning for warning in warnings) is expected
