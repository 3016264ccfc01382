#!/usr/bin/python
"""Report what the roles have changed on this host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils.state import State, StateUnreadable, roles

DOCUMENTATION = """
module: changes
short_description: Report what the roles have changed on this host and can revert
description: Changes nothing. Reads /var/lib/labkit/state.
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Read what the roles have changed
  labkit.host.changes:
  register: state

- name: Show it
  ansible.builtin.debug:
    var: state.reported
"""

RETURN = """
reported:
  description: One line for each role that changed anything, with the kinds of change and their targets.
  type: list
  elements: str
  returned: success
  sample: ["hugepages: hugepages /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"]
"""
_FEW = 4
"""So many targets of a kind are named, of more the number is reported."""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        reported = [f"{role}: {', '.join(_kinds(role))}" for role in roles()]
    except (StateUnreadable, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, reported=reported or ["Nothing on this host is changed."])


def _kinds(role: str) -> Iterator[str]:
    changes = State(role).changes()
    for kind, number in Counter(change.kind for change in changes).items():
        targets = [change.target for change in changes if change.kind == kind]
        yield f"{kind} {' '.join(targets)}" if number <= _FEW else f"{number} x {kind}"


if __name__ == "__main__":
    main()
