#!/usr/bin/python
"""Undo what a role changed."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import packages, undo
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: revert
short_description: Revert what one role changed, newest change first
description:
  - Reads /var/lib/labkit/state/ROLE.json. What cannot be reverted stays recorded, is reported and fails the task.
  - With C(only) and C(wanted) a role reverts what an earlier run changed and its variables no longer request.
options:
  role: {description: Role whose changes are reverted., type: str, required: true}
  keep: {description: "Kinds of changes that stay, such as packages.", type: list, elements: str, default: []}
  only: {description: Kinds of changes to revert; all if omitted., type: list, elements: str}
  wanted: {description: "Targets that stay, such as the path of a setting.", type: list, elements: str, default: []}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Revert all that the role dpdk changed, but not its packages
  labkit.host.revert:
    role: dpdk
    keep: [packages]

- name: Revert settings that are no longer requested
  labkit.host.revert:
    role: af_xdp
    only: [setting]
    wanted: [/proc/sys/net/core/busy_read]
"""

RETURN = """
undone:
  description: Changes that were reverted, each with kind and target.
  type: list
  elements: str
  returned: success, and failure where some could not be reverted
  sample: [setting /proc/sys/net/core/busy_poll]
left:
  description: Changes that could not be reverted, each with the reason.
  type: list
  elements: str
  returned: failure
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "keep": {"type": "list", "elements": "str", "default": []},
            "only": {"type": "list", "elements": "str"},
            "wanted": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        upgraded = packages.upgraded(module.params["role"])
        done, left = undo.undo(**module.params, check=module.check_mode)
    except (StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    if upgraded and any(one.startswith(f"{packages.KIND} ") for one in done):
        module.warn(f"upgraded by labkit, and left so; these were the versions before: {', '.join(upgraded)}")
    if left:
        module.fail_json(msg="Not reverted: " + "; ".join(left), undone=done, left=left)
    module.exit_json(changed=bool(done), undone=done)


if __name__ == "__main__":
    main()
