#!/usr/bin/python
"""Get access to a service of Ubuntu Pro."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import ubuntu_pro
from ansible_collections.labkit.host.plugins.module_utils.boot_commands import CommandFailed
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: ubuntu_pro
short_description: Enable access to the packages of one service of Ubuntu Pro
description: >-
  Records the change, then enables the service without installing its packages. The host must be attached to Ubuntu
  Pro.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  service: {description: Name of the service as pro status prints it., type: str, required: true}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Enable access to Ubuntu's real-time kernel
  labkit.host.ubuntu_pro:
    role: lowlatency_kernel
    service: realtime-kernel
"""

RETURN = """
# Only what every module returns: changed, failed, msg.
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
