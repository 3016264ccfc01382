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
short_description: Reserve hugepages, and count those granted
description:
  - Requests the run-time pools from the kernel and reads back what it granted. Checks whether the pools of the boot are
    there.
  - Fewer pages than requested are an error that reports how much memory was free and how it is fragmented.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  wanted:
    description: Variables of the role hugepages (hugepages_count, hugepages_pools and others).
    type: dict
    required: true
  count: {description: Pages of 2 MB at run time; 0 leaves them unchanged., type: int, default: 0}
  count_file: {description: The kernel's file that sets the number of pages of 2 MB., type: path, required: true}
  persist: {description: Whether to reserve the run-time pools again at every boot., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Reserve pages of 1 GB on node 0 at boot, and pages of 2 MB now
  labkit.host.hugepages:
    role: hugepages
    wanted:
      hugepages_count: "0"
      hugepages_pools:
        - {size_kib: 1048576, count: 8, node: 0, scope: boot}
        - {size_kib: 2048, count: 512, node: 0, scope: runtime}
    count_file: /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    persist: true
"""

RETURN = """
waiting:
  description: Pools that are reserved at the next boot.
  type: list
  elements: str
  returned: success
  sample: [8 hugepages of 1 GB on node 0]
msg:
  description: The same as a sentence.
  type: str
  returned: success
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
    for pool in wanted["wanted"].get("hugepages_pools") or []:
        if pool.get("when") is not None:
            module.deprecate(
                f"hugepages_pools: `when` is the old name of `scope`: write scope: {pool['when']}",
                version="0.3.0",
                collection_name="labkit.host",
            )
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
