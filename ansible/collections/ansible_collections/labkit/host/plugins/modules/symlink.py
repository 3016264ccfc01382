#!/usr/bin/python
"""Keep one symbolic link of our own."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import symlinks
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: symlink
short_description: Have one symbolic link, and keep what it pointed at for the revert
description: Records the old target, then replaces the link in one step. Anything else in its place is refused.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  path: {description: The link; its folder must exist., type: path, required: true}
  target: {description: What it points at., type: str, required: true}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Make this version the current one
  labkit.host.symlink:
    role: trex
    path: /opt/trex/current
    target: v3.08
"""

RETURN = """
# Only what every module returns: changed, failed, msg.
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "target": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        changed = symlinks.change(**module.params, check=module.check_mode)
    except (StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
