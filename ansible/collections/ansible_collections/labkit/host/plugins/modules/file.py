#!/usr/bin/python
"""Keep one file of our own."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import files
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: file
short_description: One file, whose predecessor is kept
description: Writes down what was there, then replaces the file whole.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  path: {description: The file., type: path, required: true}
  content: {description: What it shall hold; omitted the file shall be absent., type: str}
  mode: {description: Octal mode; none that lets everybody write., type: str, default: "0644"}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "mode": {"type": "str", "default": "0644"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        changed = files.change(
            wanted["role"], wanted["path"], wanted["content"], mode=wanted["mode"], check=module.check_mode
        )
    except (StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
