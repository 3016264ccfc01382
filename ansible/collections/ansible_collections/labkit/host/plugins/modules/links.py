#!/usr/bin/python
"""Report the host's interfaces."""

from __future__ import annotations

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import links
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown

DOCUMENTATION = """
module: links
short_description: Report the interfaces, their drivers and PCI devices, and which are protected
description:
  - Changes nothing.
  - Fails if the host is reached over SSH and the interface that carries the connection cannot be determined.
options:
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  management:
    description: Interfaces to protect besides those found, each by name, alternative name, alias or PCI address.
    type: list
    elements: str
    default: []
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Read the interfaces
  labkit.host.links:
    over_ssh: true
    management: [eno1]
  register: links

- name: Show those that must not be changed
  ansible.builtin.debug:
    msg: "{{ links.interfaces | selectattr('protected') | map(attribute='name') }}"
"""

RETURN = """
interfaces:
  description: The interfaces, each with its name, driver, PCI address and the reasons why it is protected.
  type: list
  elements: dict
  returned: success
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "over_ssh": {"type": "bool", "required": True},
            "management": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        found = links.interfaces(over_ssh=module.params["over_ssh"], management=module.params["management"])
    except WayUnknown as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, interfaces=[asdict(interface) for interface in found])


if __name__ == "__main__":
    main()
