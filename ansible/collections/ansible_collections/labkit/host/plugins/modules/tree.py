#!/usr/bin/python
"""Keep one folder of our own."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import trees
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: tree
short_description: Create one folder of labkit's, empty or from an archive
description:
  - The archive's checksum is verified first. A folder that existed before is refused.
  - The revert removes the folder with its content.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  path: {description: The folder., type: path, required: true}
  archive:
    description: "Archive that tar reads: a path on the host, or an http, https or file URL. Without one it is empty."
    type: str
    default: ""
  sha256: {description: Checksum of the archive., type: str, default: ""}
  strip: {description: How many folders are left out of the names in the archive., type: int, default: 0}
  needed: {description: Names that must be in the folder then., type: list, elements: str, default: []}
  validate_certs: {description: Whether the certificate of an https URL must be valid., type: bool, default: true}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Unpack the probe's sources
  labkit.host.tree:
    role: labkit_host
    path: /usr/local/lib/labkit/source
    archive: /run/labkit-source.tar
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

- name: Create an empty folder
  labkit.host.tree:
    role: labkit_host
    path: /usr/local/lib/labkit/probe
"""

RETURN = """
missing:
  description: Whether the tree was not there, or not as it was unpacked; a task's C(changed_when) does not touch it.
  type: bool
  returned: success
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "archive": {"type": "str", "default": ""},
            "sha256": {"type": "str", "default": "", "no_log": False},
            "strip": {"type": "int", "default": 0},
            "needed": {"type": "list", "elements": "str", "default": []},
            "validate_certs": {"type": "bool", "default": True},
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
            strip=wanted["strip"],
            needed=wanted["needed"],
            validate_certs=wanted["validate_certs"],
            check=module.check_mode,
        )
    except (trees.TreeRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, missing=changed)


if __name__ == "__main__":
    main()
