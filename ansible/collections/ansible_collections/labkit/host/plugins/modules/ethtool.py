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
short_description: Rings, channels, moderation, offloads, pause, RSS and MTU of one interface, read back
description:
  - Keys and values are ethtool's own words, such as C(rx-usecs); on and off may be YAML's.
  - Looks whether the driver takes all of it, writes the old values down, sets, and reads back.
    What does not take is an error, and the old values are there again.
  - Refuses by itself every interface that the way to this host needs.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  name: {description: "The interface: name, alternative name, alias or PCI address.", type: str, required: true}
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  management: {description: Interfaces to leave alone besides those found., type: list, elements: str, default: []}
  persist: {description: Whether it is set again at every boot (role replay)., type: bool, default: false}
  mtu: {description: Bytes of payload in a frame., type: int}
  channels: {description: "Queues: rx, tx, combined; or queues, as the driver has them.", type: dict}
  rings: {description: "Frames that a queue's ring holds: rx, tx.", type: dict}
  features: {description: "Offloads, as C(ethtool -k) prints them or short: gro, tso.", type: dict}
  coalescing: {description: "Interrupt moderation: adaptive-rx, rx-usecs (us), rx-frames and so on.", type: dict}
  pause: {description: "Pause frames: autoneg, rx, tx.", type: dict}
  rss:
    description: >-
      Spread over queues: C(indirection) is default, equal N, equal N start QUEUE, or weight W0 W1 and so on.
    type: dict
  napi:
    description: "Polling: napi_defer_hard_irqs (polls), gro_flush_timeout (ns), threaded."
    type: dict
author: [the labkit authors (@labkit)]
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
