#!/usr/bin/python
"""Ban isolated cores from irqbalance."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import irqbalance
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: irqbalance
short_description: irqbalance, kept off isolated cores
description: >-
  Bans the cores besides those that the user bans, by a drop-in of our own, and restarts irqbalance where the running
  one was not configured so. A host without irqbalance or systemd is left alone.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  isolated: {description: 'List of cores such as "1-3,5".', type: str, required: true}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "isolated": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        changed, msg, unread = irqbalance.change(
            module.params["role"], module.params["isolated"], check=module.check_mode
        )
    except (irqbalance.IrqbalanceFailed, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    for note in unread:
        module.warn(note)
    module.exit_json(changed=changed, msg=msg)


if __name__ == "__main__":
    main()
