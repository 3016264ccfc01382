#!/usr/bin/python
"""Undo what a role changed."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import packages, undo
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: revert
short_description: Revert what one role changed, newest first
description: >-
  Reads /var/lib/labkit/state/ROLE.json. What cannot be reverted is reported, and fails the task. With only and wanted a
  role reverts what an earlier run made and its variables ask for no more.
options:
  role: {description: Whose changes., type: str, required: true}
  keep: {description: "Kinds of changes that stay, such as packages.", type: list, elements: str, default: []}
  only: {description: Kinds of changes to revert; all unless given., type: list, elements: str}
  wanted: {description: "Targets that stay, such as the path of a setting.", type: list, elements: str, default: []}
author: [the labkit authors (@labkit)]
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
