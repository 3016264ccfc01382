#!/usr/bin/python
"""Documentation of the action plugin of this name: it runs on the controller."""

from __future__ import annotations

DOCUMENTATION = """
module: desired
short_description: Write the requested state of a host to a file
description:
  - Runs on the controller and connects to no host. Evaluates the host's variables over the roles' defaults and writes
    them as JSON, with the problems found in them, for C(labkit doctor --host).
options:
  roles_path: {description: Folder of the roles., type: path, required: true}
  answer: {description: File to write., type: path, required: true}
  facts: {description: Variables that the roles read from the host before they use them., type: dict}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Write what this host is to be
  labkit.host.desired:
    roles_path: "{{ playbook_dir }}/roles"
    answer: /tmp/dut.json
    facts:
      cpu_isolation_present: "0-7"
"""

RETURN = """
# Only what every module returns: changed, failed, msg.
"""
