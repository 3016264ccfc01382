#!/usr/bin/python
"""Build one program from its source archive."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import sources
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: source
short_description: Build one program from its source archive with meson
description:
  - Verifies the archive's checksum before anything is unpacked. A wrong checksum, a truncated archive or a missing
    network is an error, and nothing is installed.
  - Installs into /usr/local/lib/labkit/NAME-VERSION. The revert removes this folder.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  name: {description: Name of the program., type: str, required: true}
  version: {description: Its version., type: str, required: true}
  url: {description: "http, https or file URL, or a path on the host.", type: str, required: true}
  sha256: {description: Checksum of the archive., type: str, required: true}
  options: {description: Options of meson setup., type: list, elements: str, default: []}
  look: {description: Only fetch the archive and verify its checksum., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Build DPDK
  labkit.host.source:
    role: dpdk
    name: dpdk
    version: 24.11.1
    url: https://fast.dpdk.org/rel/dpdk-24.11.1.tar.xz
    sha256: "{{ dpdk_source_sha256 }}"
    options: [-Dtests=false]
"""

RETURN = """
prefix:
  description: Folder of the installed program.
  type: str
  returned: success
  sample: /usr/local/lib/labkit/dpdk-24.11.1
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
