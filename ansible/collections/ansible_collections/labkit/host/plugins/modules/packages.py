#!/usr/bin/python
"""Install packages that are missing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import packages
from ansible_collections.labkit.host.plugins.module_utils.package_manager import PackagesRefused
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: packages
short_description: Packages that are missing, with a note of all that comes along
description:
  - Asks dpkg or rpm first; on a host that has them all nothing else is run. Else the package manager simulates the
    installation, what it would add is written down, then it installs. An installation that would remove a package is
    refused. Undone, exactly what was added goes again.
  - Check mode simulates, with an index of its own where the host's does not know a name.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  names: {description: 'Package names; of "a|b" the first that there is.', type: list, elements: str, default: []}
  files: {description: Package files on the host (.deb or .rpm)., type: list, elements: path, default: []}
  recommends: {description: Whether to install what is only recommended too., type: bool, default: false}
  lock_timeout_s: {description: "How long to wait for another package manager to finish [s].", type: int, default: 300}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
            "recommends": {"type": "bool", "default": False},
            "lock_timeout_s": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        done = packages.change(
            wanted["role"],
            wanted["names"],
            wanted["files"],
            manager=packages.of_host(
                recommends=wanted["recommends"], lock_timeout_s=wanted["lock_timeout_s"]
            ),
            check=module.check_mode,
        )
    except (PackagesRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    if done.upgraded:
        module.warn(
            f"upgraded, which the revert does not take back: {', '.join(done.upgraded)} (they were too old for what "
            "was asked for)"
        )
    module.exit_json(changed=done.changed, installed=done.installed, upgraded=done.upgraded)


if __name__ == "__main__":
    main()
