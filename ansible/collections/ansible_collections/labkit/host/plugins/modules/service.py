#!/usr/bin/python
"""Enable or disable, start or stop one unit."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import services
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: service
short_description: Enable or disable, start or stop one unit of systemd
description:
  - Records the old state, changes it and reads it back. Without systemd nothing is changed.
  - An unknown unit is an error if it is to be enabled or running, and counts as disabled and stopped otherwise.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  name: {description: The unit with its suffix such as irqbalance.service., type: str, required: true}
  enabled: {description: Whether it starts at boot; unchanged if omitted., type: bool}
  running: {description: Whether it runs; unchanged if omitted., type: bool}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Stop irqbalance, now and at boot
  labkit.host.service:
    role: cpu_isolation
    name: irqbalance.service
    enabled: false
    running: false
"""

RETURN = """
msg:
  description: Why nothing was changed.
  type: str
  returned: without systemd
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "enabled": {"type": "bool"},
            "running": {"type": "bool"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if not services.has_systemd():
        module.exit_json(
            changed=False, msg=f"{wanted['name']}: systemd does not run on this host, left as it is"
        )
    try:
        changed = services.change(
            wanted["role"],
            wanted["name"],
            enabled=wanted["enabled"],
            running=wanted["running"],
            check=module.check_mode,
        )
    except (services.ServiceFailed, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
