#!/usr/bin/python
"""Have the hugepages that are asked for."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import hugepages_have
from ansible_collections.labkit.host.plugins.module_utils.hugepools import ShortGrant
from ansible_collections.labkit.host.plugins.module_utils.settings import SettingRefused
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: hugepages
short_description: Pools of hugepages, counted after they were granted
description: >-
  Asks the kernel for the pools of the run time and reads back what it granted; looks whether those of the boot are
  there. Fewer than asked for is an error that says how much memory was free and how it was cut up.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  wanted: {description: The role's variables (hugepages_count, hugepages_pools and others)., type: dict, required: true}
  count: {description: Pages of 2 MB at run time; 0 leaves them alone., type: int, default: 0}
  count_file: {description: The file that sets their number., type: path, required: true}
  persist: {description: Whether pools of the run time are made again at every boot., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "wanted": {"type": "dict", "required": True},
            "count": {"type": "int", "default": 0},
            "count_file": {"type": "path", "required": True},
            "persist": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        changed, waiting = hugepages_have.have(
            wanted["role"],
            wanted["wanted"],
            count=wanted["count"],
            count_file=wanted["count_file"],
            persist=wanted["persist"],
            check=module.check_mode,
        )
    except (ShortGrant, SettingRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    msg = f"after the next boot: {', '.join(waiting)} (role boot)" if waiting else "all are there"
    module.exit_json(changed=changed, waiting=waiting, msg=msg)


if __name__ == "__main__":
    main()
