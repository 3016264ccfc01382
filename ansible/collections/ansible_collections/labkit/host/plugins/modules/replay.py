#!/usr/bin/python
"""Have noted changes made again at every boot."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import replay_unit, services
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: replay
short_description: The unit that makes changes again at every boot
description: >-
  Installs labkit-host.service and what it runs, and enables it. It makes what was noted with persist again. Where
  systemd does not run nothing is changed.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={"role": {"type": "str", "required": True}}, supports_check_mode=True
    )
    if not services.has_systemd():
        module.exit_json(
            changed=False, msg="systemd does not run on this host: what was set lasts until its next boot"
        )
    try:
        changed = replay_unit.install(module.params["role"], check=module.check_mode)
    except (services.ServiceFailed, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
