#!/usr/bin/python
"""Documentation of the action plugin of this name: it runs on the controller."""

from __future__ import annotations

DOCUMENTATION = """
module: desired
short_description: Write down what a host shall be
description:
  - Runs on the controller and touches no host. Works the variables out, over the roles' defaults, and writes them down
    as JSON with what is wrong with them, for C(labkit doctor --host).
options:
  roles_path: {description: Folder of the roles., type: path, required: true}
  answer: {description: File to write., type: path, required: true}
  facts: {description: 'Variables that the roles read from the host before they use them.', type: dict}
author: [the labkit authors (@labkit)]
"""
