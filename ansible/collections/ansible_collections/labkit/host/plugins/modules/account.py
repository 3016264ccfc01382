#!/usr/bin/python
"""Add groups, users and memberships."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import accounts
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: account
short_description: Add missing groups, users and memberships
description:
  - Records each in the state file before it is added. Existing groups, users and memberships are not changed.
  - The revert removes what was added, with the users' home folders.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  groups: {description: System groups., type: list, elements: str, default: []}
  users: {description: "Users, created without a password.", type: list, elements: str, default: []}
  memberships: {description: "Pairs USER:GROUP.", type: list, elements: str, default: []}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Create a user and put it into the group that may run the probe
  labkit.host.account:
    role: labkit_host
    groups: [labkit]
    users: [lab]
    memberships: ["lab:labkit"]
"""

RETURN = """
added:
  description: Groups, users and memberships that were added, or would be in check mode.
  type: list
  elements: str
  returned: success
  sample: [group labkit, user lab, "member lab:labkit"]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "groups": {"type": "list", "elements": "str", "default": []},
            "users": {"type": "list", "elements": "str", "default": []},
            "memberships": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        added = accounts.add(
            wanted["role"],
            groups=wanted["groups"],
            users=wanted["users"],
            memberships=wanted["memberships"],
            check=module.check_mode,
        )
    except (accounts.AccountRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(added), added=added)


if __name__ == "__main__":
    main()
