#!/usr/bin/python
"""Ban isolated cores from irqbalance."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import irqbalance
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: irqbalance
short_description: Ban isolated cores from irqbalance
description:
  - Bans the cores, besides those that the user's configuration bans, by a drop-in of labkit's, and restarts irqbalance
    if the running one has another configuration. A host without irqbalance or systemd is not changed.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  isolated: {description: 'List of cores such as "1-3,5".', type: str, required: true}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Ban irqbalance from the isolated cores
  labkit.host.irqbalance:
    role: cpu_isolation
    isolated: "2-7"
"""

RETURN = """
msg:
  description: The banned cores, or why nothing was changed.
  type: str
  returned: success
  sample: "banned cores: 2-7"
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
