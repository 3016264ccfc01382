#!/usr/bin/python
"""Enable or disable, start or stop one unit."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import services
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: service
short_description: One unit of systemd, enabled or not and running or not
description:
  - Writes down how it was, changes it and looks whether it took. Where systemd does not run nothing is changed.
  - An unknown unit is an error where it shall be enabled or run, and as good as disabled and stopped where not.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  name: {description: The unit with its suffix such as irqbalance.service., type: str, required: true}
  enabled: {description: Whether it shall start at boot; omitted it stays as it is., type: bool}
  running: {description: Whether it shall run; omitted it stays as it is., type: bool}
author: [the labkit authors (@labkit)]
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
