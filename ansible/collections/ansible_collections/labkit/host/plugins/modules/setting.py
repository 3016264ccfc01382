#!/usr/bin/python
"""Set one value of the kernel."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import settings
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: setting
short_description: One value in /proc/sys or /sys, read back
description: Writes the old value down, writes the new one and reads it back. A value that does not take is an error.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  path: {description: File below /proc/sys or /sys., type: path, required: true}
  value: {description: What it shall be., type: str, required: true}
  reads_as: {description: How two spellings compare., type: str, default: exact,
             choices: [exact, selected, cpumask, cpulist, int]}
  persist: {description: Whether it is set again at every boot (role replay)., type: bool, default: false}
  missing: {description: What a kernel without that file means., type: str, default: fail, choices: [fail, skip]}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "value": {"type": "str", "required": True},
            "reads_as": {"type": "str", "default": "exact", "choices": sorted(settings.READERS)},
            "persist": {"type": "bool", "default": False},
            "missing": {"type": "str", "default": "fail", "choices": ["fail", "skip"]},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if not wanted["path"].startswith(("/proc/sys/", "/sys/")):
        module.fail_json(
            msg=f"{wanted['path']}: expected a file below /proc/sys or /sys; other files: labkit.host.file"
        )
    setting = settings.Setting(wanted["path"], wanted["reads_as"])
    if not setting.exists():
        if wanted["missing"] == "skip":
            module.exit_json(changed=False, msg=f"{setting.path}: this kernel does not have it")
        module.fail_json(msg=f"{setting.path}: this kernel does not have it")
    try:
        changed, before = settings.change(
            wanted["role"], setting, wanted["value"], persist=wanted["persist"], check=module.check_mode
        )
    except (settings.SettingRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    after = wanted["value"] if changed else before
    module.exit_json(
        changed=changed, before=before, after=after, diff={"before": f"{before}\n", "after": f"{after}\n"}
    )


if __name__ == "__main__":
    main()
