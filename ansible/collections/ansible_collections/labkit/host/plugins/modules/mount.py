#!/usr/bin/python
"""Mount a file system where it is missing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import mounts
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: mount
short_description: One file system, mounted where it is missing
description: Writes down that it was missing, mounts it and looks whether it is there.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  path: {description: Mount point; it must be there., type: path, required: true}
  fstype: {description: Type of file system., type: str, required: true}
  source: {description: What is mounted; a name for those without a device., type: str, required: true}
  options: {description: Mount options., type: str, default: ""}
  persist: {description: Whether it is mounted again at every boot (role replay)., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "fstype": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
            "options": {"type": "str", "default": ""},
            "persist": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        changed = mounts.change(
            wanted["role"],
            wanted["path"],
            fstype=wanted["fstype"],
            source=wanted["source"],
            options=wanted["options"],
            persist=wanted["persist"],
            check=module.check_mode,
        )
    except (mounts.MountFailed, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
