"""What the module boot tells a play that has a kernel on trial running."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.labkit.host.plugins.module_utils import boot, boot_kernels
from ansible_collections.labkit.host.plugins.module_utils.boot_commands import CommandFailed
from ansible_collections.labkit.host.plugins.modules import boot as module
from boot_host import STOCK, Host


@pytest.mark.parametrize("on_trial", [True, False])
@pytest.mark.parametrize("error", [boot.TrialFailed("no"), CommandFailed("update-grub: disk full")], ids=repr)
def test_kernel_on_trial_that_was_not_confirmed_is_reported_whatever_the_reason(
    tmp_path, monkeypatch, capsys, error, on_trial
):
    host = Host(tmp_path)
    host.start(f"/boot/vmlinuz-{STOCK} quiet {'labkit.trial=0123' if on_trial else ''}")
    now = boot_kernels.running(tmp_path)

    def confirm(wanted, *, check):
        raise error

    monkeypatch.setattr(boot, "confirm", confirm)
    monkeypatch.setattr(boot_kernels, "running", lambda: now)
    with patch_module_args({"step": "confirm"}), pytest.raises(SystemExit):
        module.main()

    output = json.loads(capsys.readouterr().out)
    assert (output["failed"], output["msg"], output["running_trial"]) == (True, str(error), on_trial)
