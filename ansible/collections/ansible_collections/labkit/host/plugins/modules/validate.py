#!/usr/bin/python
"""Documentation of the action plugin of this name: it runs on the controller."""

from __future__ import annotations

DOCUMENTATION = """
module: validate
short_description: Validate a host's variables against the roles' argument specs
description:
  - Runs on the controller and connects to no host. Variables that begin with a role's name but that no role reads, and
    values of a wrong type, are reported together in one message.
  - Stricter than Ansible, which accepts text for a list and true for the word "on".
options:
  roles_path: {description: Folder of the roles; C(roles) beside the playbook if omitted., type: path}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Validate the host's variables
  labkit.host.validate:

- name: Validate them against the roles of another folder
  labkit.host.validate:
    roles_path: /srv/labkit/ansible/roles
"""

RETURN = """
problems:
  description: All problems, each with the fix.
  type: list
  elements: str
  returned: always
desired:
  description: Values that the roles will read. Wrong values and defaults with templates are left out.
  type: dict
  returned: always
"""
