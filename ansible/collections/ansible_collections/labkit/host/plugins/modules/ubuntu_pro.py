#!/usr/bin/python
"""Get access to a service of Ubuntu Pro."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import ubuntu_pro
from ansible_collections.labkit.host.plugins.module_utils.boot_commands import CommandFailed
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: ubuntu_pro
short_description: Access to the packages of one service of Ubuntu Pro
description: Writes it down, then enables the service without installing anything, on a host that is attached.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  service: {description: Its name by pro status., type: str, required: true}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        changed = ubuntu_pro.change(wanted["role"], wanted["service"], check=module.check_mode)
    except (ubuntu_pro.NotEntitled, CommandFailed, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
