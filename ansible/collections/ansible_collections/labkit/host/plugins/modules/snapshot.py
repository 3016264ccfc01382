#!/usr/bin/python
"""Report the state of a host, for comparison."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import snapshot

DOCUMENTATION = """
module: snapshot
short_description: The host's configuration and the values in effect, to compare before and after
description: Changes nothing. Returns snapshot (format, facts by area, and what is excluded with the reason).
options: {}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, snapshot=snapshot.take())


if __name__ == "__main__":
    main()
