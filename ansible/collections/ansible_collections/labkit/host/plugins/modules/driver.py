#!/usr/bin/python
"""Bind one NIC to a driver."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import drivers
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: driver
short_description: Bind one NIC to a driver, now and at every boot (role replay)
description:
  - Records the old driver, binds the new one and reads it back. If that fails the old driver is bound again and the
    task fails.
  - Refuses devices that are no NICs, devices that the connection to this host needs, devices whose drivers DPDK works
    with (mlx5), and for vfio devices without an IOMMU group or in a group with devices in use.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  pci: {description: PCI address of the NIC in any spelling., type: str, required: true}
  driver: {description: Driver such as vfio-pci., type: str, required: true}
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  management: {description: "Interfaces to protect, besides those found.", type: list, elements: str, default: []}
  together: {description: PCI addresses that the same run binds to vfio., type: list, elements: str, default: []}
  noiommu: {description: Whether vfio may be used without an IOMMU. Unsafe., type: bool, default: false}
  boot_arguments:
    description: Kernel arguments of the next boot; check mode assumes that they are in effect.
    type: list
    elements: str
    default: []
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Bind a NIC to vfio-pci
  labkit.host.driver:
    role: dpdk
    pci: "0000:3b:00.0"
    driver: vfio-pci
    over_ssh: true
    management: [eno1]
"""

RETURN = """
before:
  description: Driver before the task; none if there was none.
  type: str
  returned: success
  sample: ixgbe
after:
  description: Driver after the task.
  type: str
  returned: success
  sample: vfio-pci
interfaces:
  description: Network interfaces that the NIC had before the task.
  type: list
  elements: str
  returned: success
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "pci": {"type": "str", "required": True},
            "driver": {"type": "str", "required": True},
            "over_ssh": {"type": "bool", "required": True},
            "management": {"type": "list", "elements": "str", "default": []},
            "together": {"type": "list", "elements": "str", "default": []},
            "noiommu": {"type": "bool", "default": False},
            "boot_arguments": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        changed, before = drivers.change(
            given["role"],
            given["pci"],
            given["driver"],
            over_ssh=given["over_ssh"],
            management=given["management"],
            together=given["together"],
            noiommu=given["noiommu"],
            boot_arguments=given["boot_arguments"],
            check=module.check_mode,
        )
    except (drivers.DriverRefused, WayUnknown, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    old = before.driver or "none"
    module.exit_json(
        changed=changed,
        before=old,
        after=given["driver"],
        interfaces=before.interfaces,
        diff={"before": f"{old}\n", "after": f"{given['driver']}\n"},
    )


if __name__ == "__main__":
    main()
