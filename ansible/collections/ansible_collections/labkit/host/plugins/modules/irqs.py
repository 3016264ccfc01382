#!/usr/bin/python
"""Keep interrupts off isolated cores."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import irqs
from ansible_collections.labkit.host.plugins.module_utils.settings import SettingRefused
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: irqs
short_description: Move interrupts off isolated cores
description:
  - Removes the isolated cores from the affinity of every IRQ and from the default for new IRQs.
  - IRQs that the kernel does not allow to be moved are counted and named. The result is judged by where interrupts
    really go (effective_affinity_list).
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  isolated: {description: 'List of cores such as "1-3,5".', type: str, required: true}
  persist: {description: Whether to do it again at every boot (role replay)., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Move interrupts off the isolated cores
  labkit.host.irqs:
    role: cpu_isolation
    isolated: "2-7"
    persist: true
"""

RETURN = """
moved:
  description: IRQs whose affinity was changed.
  type: list
  elements: str
  returned: success
stay:
  description: IRQs that can't be moved and may go to an isolated core, each with the reason.
  type: dict
  returned: success
on_isolated:
  description: Of those, the ones that do go to isolated cores.
  type: list
  elements: str
  returned: success
waiting:
  description: IRQs that leave the isolated cores with their next interrupt.
  type: list
  elements: str
  returned: success
msg:
  description: The three numbers as a sentence.
  type: str
  returned: success
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
