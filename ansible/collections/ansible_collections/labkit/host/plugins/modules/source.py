#!/usr/bin/python
"""Build one program from its source archive."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import sources
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: source
short_description: A program of meson's, built from an archive into /usr/local/lib/labkit/NAME-VERSION
description:
  - The archive's checksum is looked at before anything is unpacked. A wrong one, half a file or no network is an error,
    and nothing is installed.
  - Undone, the folder is removed.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  name: {description: What it is called., type: str, required: true}
  version: {description: Its version., type: str, required: true}
  url: {description: "http, https or file URL, or a path on the host.", type: str, required: true}
  sha256: {description: Checksum of the archive., type: str, required: true}
  options: {description: Options of meson setup., type: list, elements: str, default: []}
  look: {description: "Only look whether the archive can be had, and is the right one.", type: bool, default: false}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "options": {"type": "list", "elements": "str", "default": []},
            "look": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = dict(module.params)
    role, look = given.pop("role"), given.pop("look")
    try:
        source = sources.Source(**given)
        if look:
            sources.look(role, source)
        changed = not look and sources.change(role, source, check=module.check_mode)
    except (sources.SourceRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, prefix=source.prefix)


if __name__ == "__main__":
    main()
