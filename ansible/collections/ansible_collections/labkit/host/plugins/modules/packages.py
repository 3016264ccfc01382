#!/usr/bin/python
"""Install packages that are missing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import packages
from ansible_collections.labkit.host.plugins.module_utils.package_manager import PackagesRefused
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: packages
short_description: Install missing packages, and record all that are added
description:
  - Asks dpkg or rpm first; if nothing is missing no package manager is run. Otherwise the package manager simulates
    the installation, the packages that it would add are recorded, and then it installs them.
  - An installation that would remove a package is refused. The revert removes exactly the packages that were added.
  - Check mode simulates, with a temporary index if the host's does not have a name.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  names: {description: 'Package names; "a|b" is the first of them that exists.', type: list, elements: str, default: []}
  files: {description: Package files on the host (.deb or .rpm)., type: list, elements: path, default: []}
  recommends: {description: Whether to install recommended packages too., type: bool, default: false}
  lock_timeout_s: {description: "How long to wait for another package manager to finish [s].", type: int, default: 300}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Install DPDK
  labkit.host.packages:
    role: dpdk
    names: ["libdpdk-dev|dpdk-devel", "dpdk-dev|dpdk"]

- name: Install a package file
  labkit.host.packages:
    role: lowlatency_kernel
    files: [/root/linux-image-6.12.1-rt.deb]
    lock_timeout_s: 60
"""

RETURN = """
installed:
  description: Packages that were added, with their dependencies.
  type: list
  elements: str
  returned: success
upgraded:
  description: Installed packages that were upgraded for them. The revert does not downgrade these.
  type: list
  elements: str
  returned: success
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
