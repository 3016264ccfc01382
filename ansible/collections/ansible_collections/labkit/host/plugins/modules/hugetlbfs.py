#!/usr/bin/python
"""Mount hugepages for who may use them."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import hugepages, hugetlbfs
from ansible_collections.labkit.host.plugins.module_utils.mounts import MountFailed
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: hugetlbfs
short_description: Mount hugepages as files for a group
description:
  - Mounts each with its page size, mode and group, reads back whether they are in effect, and unmounts those of labkit
    that are no longer requested.
  - A mount point that somebody else mounted with other options is an error and is not changed.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  mounts:
    description: What to mount.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Mount point; created if missing., type: path, required: true}
      size_kib: {description: "Page size [KiB].", type: int, required: true}
      mode: {description: Octal mode; world-writable ones are refused., type: str, default: ""}
      group: {description: Group that may use it without root., type: str, default: ""}
  group: {description: Group of the mounts that name none., type: str, default: ""}
  persist: {description: Whether to mount them again at every boot (role replay)., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Mount pages of 1 GB for the group labkit
  labkit.host.hugetlbfs:
    role: hugepages
    mounts:
      - {path: /dev/hugepages-1g, size_kib: 1048576, mode: "0770"}
    group: labkit
    persist: true
"""

RETURN = """
# Only what every module returns: changed, failed, msg.
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "mounts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "size_kib": {"type": "int", "required": True},
                    "mode": {"type": "str", "default": ""},
                    "group": {"type": "str", "default": ""},
                },
            },
            "group": {"type": "str", "default": ""},
            "persist": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    role, group = module.params["role"], module.params["group"]
    try:
        paths = [mount["path"] for mount in module.params["mounts"]]
        changed = hugetlbfs.release(role, paths, check=module.check_mode)
        for mount in module.params["mounts"]:
            changed |= hugetlbfs.change(
                role,
                mount["path"],
                size_kib=mount["size_kib"],
                mode=hugepages.mode_of(mount, group),
                group=mount["group"] or group,
                persist=module.params["persist"],
                check=module.check_mode,
            )
    except (MountFailed, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
