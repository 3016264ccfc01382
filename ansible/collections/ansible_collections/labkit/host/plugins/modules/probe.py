#!/usr/bin/python
"""Build labkit's packet programs on a host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import probe

DOCUMENTATION = """
module: probe
short_description: Build labkit's probe on a host
description:
  - Builds every engine whose library is installed, and builds again after a library was added.
  - With a group each engine gets exactly the capabilities that it needs, and only root and the group may run it.
options:
  source: {description: Folder of the sources., type: path, required: true}
  sha256: {description: Checksum of the archive that they were unpacked from., type: str, required: true}
  folder: {description: Folder of the built programs., type: path, required: true}
  group: {description: Group that may run them without root; empty is root alone., type: str, default: ""}
  capabilities: {description: Engine to its capabilities as setcap takes them., type: dict, default: {}}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Build the probe for the group labkit
  labkit.host.probe:
    source: /usr/local/lib/labkit/source
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    folder: /usr/local/lib/labkit/probe
    group: labkit
    capabilities:
      af_packet: cap_net_raw
      xdp: cap_net_admin,cap_bpf
"""

RETURN = """
engines:
  description: Engines that are built.
  type: list
  elements: str
  returned: success
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
