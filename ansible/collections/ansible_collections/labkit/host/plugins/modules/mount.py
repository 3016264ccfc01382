#!/usr/bin/python
"""Mount a file system where it is missing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import mounts
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: mount
short_description: Mount a file system if it is missing
description: Records that it was missing, mounts it and reads back whether it is there.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  path: {description: Mount point; must exist., type: path, required: true}
  fstype: {description: Type of file system., type: str, required: true}
  source: {description: Device; a name for file systems without one., type: str, required: true}
  options: {description: Mount options., type: str, default: ""}
  persist: {description: Whether to mount it again at every boot (role replay)., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Mount the BPF file system
  labkit.host.mount:
    role: af_xdp
    path: /sys/fs/bpf
    fstype: bpf
    source: bpf
"""

RETURN = """
# Only what every module returns: changed, failed, msg.
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
