#!/usr/bin/python
"""Mount hugepages for who may use them."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import hugepages, hugetlbfs
from ansible_collections.labkit.host.plugins.module_utils.mounts import MountFailed
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: hugetlbfs
short_description: Hugepages as files, for a group
description: >-
  Mounts each with its size of page, mode and group, looks whether they are in effect, and unmounts those of ours that
  are no longer asked for. One that somebody else mounted otherwise is left alone, and an error.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  mounts:
    description: What shall be mounted.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Mount point; made where it is missing., type: path, required: true}
      size_kib: {description: "Size of its pages [KiB].", type: int, required: true}
      mode: {description: Octal mode; none that lets everybody write., type: str, default: ""}
      group: {description: Who may use it without root., type: str, default: ""}
  group: {description: Group of those that name none., type: str, default: ""}
  persist: {description: Whether they are mounted again at every boot (role replay)., type: bool, default: false}
author: [the labkit authors (@labkit)]
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
