#!/usr/bin/python
"""Add groups, users and memberships."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import accounts
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: account
short_description: Groups, users and memberships that are missing
description: >-
  Writes down each before it is added. One that is there is never touched. Undone, what was added goes again, a user's
  home with it.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  groups: {description: System groups., type: list, elements: str, default: []}
  users: {description: "Users, without a password.", type: list, elements: str, default: []}
  memberships: {description: "Pairs USER:GROUP.", type: list, elements: str, default: []}
author: [the labkit authors (@labkit)]
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
