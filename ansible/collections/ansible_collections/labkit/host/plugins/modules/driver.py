#!/usr/bin/python
"""Bind one NIC to a driver."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import drivers
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: driver
short_description: The driver of one NIC on a PCI bus, now and after every boot (role replay)
description:
  - Writes the old driver down, binds the new one and reads it back. What does not take is an error, and the device has
    its old driver again.
  - Refuses by itself what is no NIC, what the way to this host goes over, drivers beside which DPDK works (mlx5),
    and for vfio devices without an IOMMU group, or in one with devices that others use.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  pci: {description: PCI address of the NIC in any spelling., type: str, required: true}
  driver: {description: Driver such as vfio-pci., type: str, required: true}
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  management: {description: Interfaces to leave alone besides those found., type: list, elements: str, default: []}
  together: {description: PCI addresses that the same run binds to vfio., type: list, elements: str, default: []}
  noiommu: {description: Whether vfio may go without an IOMMU. Unsafe., type: bool, default: false}
  boot_arguments:
    description: Kernel arguments that the host has by then; check mode believes in those that are still to come.
    type: list
    elements: str
    default: []
author: [the labkit authors (@labkit)]
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
