#!/usr/bin/python
"""Keep one folder of our own."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import trees
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: tree
short_description: One folder that is ours with all that is in it
description: >-
  Makes it, empty or of an archive whose checksum is right; a folder that was there before is refused. Undone, it goes
  with all that is in it.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  path: {description: The folder., type: path, required: true}
  archive: {description: Archive on the host that tar reads; omitted the folder is empty., type: path, default: ""}
  sha256: {description: Checksum of the archive., type: str, default: ""}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "archive": {"type": "path", "default": ""},
            "sha256": {"type": "str", "default": "", "no_log": False},
        },
        required_together=[("archive", "sha256")],
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        changed = trees.change(
            wanted["role"],
            wanted["path"],
            archive=wanted["archive"],
            sha256=wanted["sha256"],
            check=module.check_mode,
        )
    except (trees.TreeRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
