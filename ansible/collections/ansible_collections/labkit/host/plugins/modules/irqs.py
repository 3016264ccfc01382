#!/usr/bin/python
"""Keep interrupts off isolated cores."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import irqs
from ansible_collections.labkit.host.plugins.module_utils.settings import SettingRefused
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: irqs
short_description: Interrupts, moved off isolated cores
description: >-
  Takes the isolated cores out of the affinity of every IRQ and of the default for IRQs to come. IRQs that the kernel
  lets nobody move are counted and named. Judged by where interrupts really go (effective_affinity_list).
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  isolated: {description: 'List of cores such as "1-3,5".', type: str, required: true}
  persist: {description: Whether it is done again at every boot (role replay)., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "isolated": {"type": "str", "required": True},
            "persist": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        outcome = irqs.change(
            wanted["role"], wanted["isolated"], persist=wanted["persist"], check=module.check_mode
        )
    except (SettingRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    if outcome.offline:
        module.warn(f"isolated cores {outcome.offline} are offline (SMT off?): no interrupt goes there")
    if outcome.on_isolated:
        module.warn(
            f"IRQs that go to isolated cores and can't be moved: {', '.join(outcome.on_isolated)}. Boot with "
            "isolcpus=managed_irq, or give their devices fewer queues"
        )
    module.exit_json(
        changed=outcome.changed,
        moved=outcome.moved,
        stay=outcome.stay,
        on_isolated=outcome.on_isolated,
        waiting=outcome.waiting,
        msg=f"{len(outcome.moved)} IRQs moved, {len(outcome.stay)} can't be moved, {len(outcome.waiting)} leave "
        "isolated cores with their next interrupt",
    )


if __name__ == "__main__":
    main()
