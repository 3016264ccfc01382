#!/usr/bin/python
"""Have noted changes made again at every boot."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import replay_unit, services
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: replay
short_description: Install the unit that restores settings at every boot
description:
  - Installs and enables labkit-host.service and the program that it runs. It sets what modules recorded with
    C(persist). Without systemd nothing is changed.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Restore settings at every boot
  labkit.host.replay:
    role: replay
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
