#!/usr/bin/python
"""Validate a host before anything is changed."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.labkit.host.plugins.module_utils import (
    archives,
    links,
    lockdown,
    onload_host,
    preflight,
    preflight_boot,
    preflight_devices,
    preflight_settings,
    preflight_tuned,
    trex_host,
)
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown

DOCUMENTATION = """
module: preflight
short_description: Validate the host against its variables before anything is changed
description: Changes nothing. Fails with all problems of the host in one message, each with the fix.
options:
  wanted: {description: The host's variables (C(desired) of M(labkit.host.validate))., type: dict, required: true}
  problems: {description: Problems that are known already., type: list, elements: str, default: []}
  distribution: {description: The host's distribution as in Ansible's facts., type: str, required: true}
  version: {description: Release of the distribution., type: str, required: true}
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  boot: {description: Whether kernel and command line are to be changed., type: bool, default: false}
  archives:
    description: >-
      By role (openonload, trex) the result of C(ansible.builtin.stat) for the file ROLE_archive where Ansible runs.
    type: dict
    default: {}
  become_failed: {description: Why becoming root failed; empty if it did not., type: str, default: ""}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Validate the variables
  labkit.host.validate:
  register: variables
  failed_when: false

- name: Validate the host
  labkit.host.preflight:
    wanted: "{{ variables.desired }}"
    problems: "{{ variables.problems }}"
    distribution: "{{ ansible_facts['distribution'] }}"
    version: "{{ ansible_facts['distribution_version'] }}"
    over_ssh: true
    boot: true
"""

RETURN = """
# Only what every module returns: changed, failed, msg.
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "wanted": {"type": "dict", "required": True},
            "problems": {"type": "list", "elements": "str", "default": []},
            "distribution": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "over_ssh": {"type": "bool", "required": True},
            "boot": {"type": "bool", "default": False},
            "archives": {"type": "dict", "default": {}},
            "become_failed": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = module.params["wanted"]
    host = preflight.Host(
        module.params["distribution"], module.params["version"], module.params["become_failed"]
    )
    found = [
        *module.params["problems"],
        *preflight.problems(wanted, host),
        *_devices(module),
        *preflight_devices.source(wanted),
        *_archives(module),
        *lockdown.problems(wanted),
    ]
    if module.params["boot"]:
        reboots = boolean(wanted.get("boot_reboot", True))  # -e boot_reboot=false is text
        found += preflight_boot.problems(wanted, not_here=reboots and not module.params["over_ssh"])
        for note in lockdown.notes(wanted):
            module.warn(note)
    for note in preflight_tuned.notes(wanted):
        module.warn(note)
    for note in preflight.offline_cores(wanted):
        module.warn(note)
    # With nothing else to report, another apt is waited for: on a host that has just booted it is at work.
    timeout_s = 0 if found else int(wanted.get("packages_lock_timeout_s", 0))
    found += list(preflight.locks(timeout_s)) or preflight.wreck(timeout_s)
    if found:
        reasons = "\n".join(f"- {problem}" for problem in found)
        module.fail_json(
            msg=f"{len(found)} {'reason' if len(found) == 1 else 'reasons'} why this host can't be provisioned. "
            f"Nothing was changed.\n{reasons}"
        )
    module.exit_json(changed=False)


def _archives(module: AnsibleModule) -> Iterator[str]:
    wanted = module.params["wanted"]
    roles = [archives.TREX, *([archives.OPENONLOAD] if wanted.get("openonload_state") != "absent" else [])]
    for of in roles:
        result = module.params["archives"].get(of.role, {})
        yield from archives.problems(of, wanted, result.get("stat", {"error": result.get("msg", "")}))


def _devices(module: AnsibleModule) -> Iterator[str]:
    wanted = module.params["wanted"]
    lists = (*preflight_devices.LISTS, preflight_devices.DEVICES, preflight_devices.TREX)
    named = any(wanted.get(name) for name in lists) or onload_host.asked_for(wanted)
    if not named and not preflight_boot.blacklisted(wanted):
        return
    way = {
        "over_ssh": module.params["over_ssh"],
        "management": wanted.get("labkit_host_management_interfaces", []),
    }
    try:
        interfaces = links.interfaces(**way)
    except WayUnknown as error:
        yield str(error)
        return
    touchable = functools.cache(lambda text: links.touchable(text, **way))
    yield from preflight_devices.problems(wanted, interfaces, touchable)
    yield from trex_host.problems(wanted, interfaces, touchable)
    yield from onload_host.problems(
        wanted, touchable, another_kernel=bool(preflight_boot.another_kernel(wanted))
    )
    yield from preflight_settings.slips(wanted)
    yield from preflight_boot.lockouts(wanted, interfaces)
    if os.geteuid() != 0:
        return  # an ordinary user cannot read what a NIC has
    lacks = preflight_settings.lacks(wanted, interfaces, touchable)
    if preflight_boot.another_kernel(wanted):
        for note in lacks:
            module.warn(f"the kernel that runs does not take all; the one to come may: {note}")
    else:
        yield from lacks


if __name__ == "__main__":
    main()
