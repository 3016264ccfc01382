#!/usr/bin/python
"""Report the state of a host, for comparison."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import snapshot

DOCUMENTATION = """
module: snapshot
short_description: Report the configuration of the host and the values in effect, to compare before and after
description: Changes nothing.
options: {}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Record the state of the host
  labkit.host.snapshot:
  register: before
"""

RETURN = """
snapshot:
  description: Format, facts by area, and what is excluded with the reason.
  type: dict
  returned: success
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, snapshot=snapshot.take())


if __name__ == "__main__":
    main()
