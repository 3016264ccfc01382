#!/usr/bin/python
"""Documentation of the action plugin of this name: it runs on the controller."""

from __future__ import annotations

DOCUMENTATION = """
module: validate
short_description: Hold a host's variables against the roles' argument specs
description:
  - Runs on the controller and touches no host. Names that begin with a role's name and that no role reads, and values
    of a wrong type are refused, all of them in one message.
  - Stricter than Ansible, which takes text for a list and true for the word "on".
options:
  roles_path: {description: Folder of the roles; without it C(roles) beside the playbook., type: path}
author: [the labkit authors (@labkit)]
"""

RETURN = """
problems: {description: Each mistake with its way out., type: list, elements: str, returned: always}
desired: {description: What the roles will read. Wrong values and templated defaults are left out.,
          type: dict, returned: always}
"""
