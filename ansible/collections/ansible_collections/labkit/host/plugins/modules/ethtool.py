#!/usr/bin/python
"""Set one network interface."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import ethtool, links
from ansible_collections.labkit.host.plugins.module_utils.ethtool_groups import (
    GROUPS,
    EthtoolFailed,
    EthtoolMissing,
)
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: ethtool
short_description: Set queues, rings, moderation, offloads, pause, RSS and MTU of one interface
description:
  - Keys and values are ethtool's own words, such as C(rx-usecs); on and off may also be YAML's booleans.
  - Validates all settings against the driver, records the old values, sets the new ones and reads them back. If a value
    is not in effect then, the old values are restored and the task fails.
  - Refuses every interface that the connection to this host needs.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  name: {description: "The interface: name, alternative name, alias or PCI address.", type: str, required: true}
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  management: {description: "Interfaces to protect, besides those found.", type: list, elements: str, default: []}
  persist: {description: Whether to set it again at every boot (role replay)., type: bool, default: false}
  mtu: {description: "Payload of a frame [bytes].", type: int}
  channels: {description: "Queues: rx, tx, combined; or queues, as the driver has them.", type: dict}
  rings: {description: "Frames in the ring of a queue: rx, tx.", type: dict}
  features: {description: "Offloads, as C(ethtool -k) prints them or short: gro, tso.", type: dict}
  coalescing: {description: "Interrupt moderation: adaptive-rx, rx-usecs (us), rx-frames and so on.", type: dict}
  pause: {description: "Pause frames: autoneg, rx, tx.", type: dict}
  rss:
    description: >-
      Distribution over queues: C(indirection) is default, equal N, equal N start QUEUE, or weight W0 W1 and so on.
    type: dict
  napi:
    description: "Polling: napi_defer_hard_irqs (polls), gro_flush_timeout (ns), threaded."
    type: dict
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Set an interface for low latency
  labkit.host.ethtool:
    role: nic_tuning
    name: ens1f1
    over_ssh: true
    persist: true
    channels: {combined: 4}
    rings: {rx: 512, tx: 512}
    coalescing: {adaptive-rx: false, rx-usecs: 0}
    features: {gro: false, lro: false}
    rss: {indirection: equal 4}
"""

RETURN = """
before:
  description: Old values of the changed settings, by group.
  type: dict
  returned: success
  sample: {rings: {rx: "256"}}
after:
  description: New values of the changed settings, by group.
  type: dict
  returned: success
  sample: {rings: {rx: "512"}}
msg:
  description: Why the changes can't be predicted.
  type: str
  returned: in check mode, if ethtool is not installed
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "over_ssh": {"type": "bool", "required": True},
            "management": {"type": "list", "elements": "str", "default": []},
            "persist": {"type": "bool", "default": False},
            **{group: {"type": "int" if group == "mtu" else "dict"} for group in GROUPS},
        },
        supports_check_mode=True,
    )
    given = module.params
    wanted = {group: given[group] for group in GROUPS if given[group] is not None}
    if "mtu" in wanted:
        wanted["mtu"] = {"mtu": given["mtu"]}
    try:
        before, after = ethtool.change(
            given["role"],
            given["name"],
            wanted,
            over_ssh=given["over_ssh"],
            management=given["management"],
            persist=given["persist"],
            check=module.check_mode,
        )
    except EthtoolMissing as error:
        if module.check_mode:
            module.exit_json(changed=True, msg=f"{error}, and what it will change is not known before")
        module.fail_json(msg=str(error))
    except (EthtoolFailed, links.Untouchable, WayUnknown, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(before), before=before, after=after, diff={"before": before, "after": after}
    )


if __name__ == "__main__":
    main()
