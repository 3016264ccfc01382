#!/usr/bin/python
"""Keep one file of our own."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import files
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: file
short_description: Write or remove one file, and keep the old one for the revert
description: Records the old file, then replaces it in one step.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  path: {description: The file., type: path, required: true}
  content: {description: Content of the file; the file is removed if this is omitted., type: str}
  mode: {description: Octal mode; world-writable ones are refused., type: str, default: "0644"}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Load vfio-pci at every boot
  labkit.host.file:
    role: dpdk
    path: /etc/modules-load.d/labkit-dpdk.conf
    content: |
      vfio-pci

- name: Remove the file
  labkit.host.file:
    role: dpdk
    path: /etc/modules-load.d/labkit-dpdk.conf
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
            "content": {"type": "str"},
            "mode": {"type": "str", "default": "0644"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        changed = files.change(
            wanted["role"], wanted["path"], wanted["content"], mode=wanted["mode"], check=module.check_mode
        )
    except (StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
