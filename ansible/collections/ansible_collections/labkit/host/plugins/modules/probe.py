#!/usr/bin/python
"""Build labkit's packet programs on a host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import probe

DOCUMENTATION = """
module: probe
short_description: labkit's packet programs, built on a host of sources that are there
description: >-
  Builds every engine whose library is there, and builds again where one has come. With a group each engine gets the
  capabilities that it needs and no others, and nobody but root and the group may run it.
options:
  source: {description: Folder of the sources., type: path, required: true}
  sha256: {description: Checksum of the archive that they were unpacked of., type: str, required: true}
  folder: {description: Folder of what is built., type: path, required: true}
  group: {description: Who may run it without root; empty is nobody., type: str, default: ""}
  capabilities: {description: Engine to its capabilities as setcap takes them., type: dict, default: {}}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "sha256": {"type": "str", "required": True, "no_log": False},
            "folder": {"type": "path", "required": True},
            "group": {"type": "str", "default": ""},
            "capabilities": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        changed, engines = probe.change(
            wanted["source"],
            wanted["sha256"],
            wanted["folder"],
            group=wanted["group"],
            capabilities=wanted["capabilities"],
            check=module.check_mode,
        )
    except (probe.ProbeFailed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, engines=engines)


if __name__ == "__main__":
    main()
