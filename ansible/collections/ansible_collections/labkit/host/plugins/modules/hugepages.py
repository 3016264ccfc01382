#!/usr/bin/python
"""Have the hugepages that are asked for."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import hugepages, hugepages_look, hugepools
from ansible_collections.labkit.host.plugins.module_utils.settings import SettingRefused
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: hugepages
short_description: Pools of hugepages, counted after they were granted
description: >-
  Asks the kernel for the pools of the run time and reads back what it granted; looks whether those of the boot are
  there. Fewer than asked for is an error that says how much memory was free and how it was cut up.
options:
  role: {description: Whose change it is; names the state file., type: str, required: true}
  wanted: {description: The role's variables (hugepages_count, hugepages_pools and others)., type: dict, required: true}
  count: {description: Pages of 2 MB at run time; 0 leaves them alone., type: int, default: 0}
  knob: {description: The file that sets their number., type: path, required: true}
  persist: {description: Whether pools of the run time are made again at every boot., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "wanted": {"type": "dict", "required": True},
            "count": {"type": "int", "default": 0},
            "knob": {"type": "path", "required": True},
            "persist": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        _have(module)
    except (hugepools.ShortGrant, SettingRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=str(error))


def _have(module: AnsibleModule) -> None:
    role, wanted, check = module.params["role"], module.params["wanted"], module.check_mode
    if problems := hugepages.problems(wanted, hugepages_look.look()):
        module.fail_json(msg=f"{'; '.join(problems)}. Nothing was changed.")
    entries = wanted.get("hugepages_pools") or []
    pools = [hugepages.Pool.of(entry) for entry in entries]
    boot = [pool for pool in pools if pool.when == "boot"]
    runtime = {hugepools.knob(pool): pool for pool in pools if pool.when == "runtime"}
    if module.params["count"]:
        runtime[module.params["knob"]] = hugepages.Pool(hugepages.DEFAULT_SIZE_KIB, module.params["count"])
    # No count: what an earlier one added stays, unless the same pages are now asked for otherwise.
    keep = {*runtime} | ({module.params["knob"]} if not _of_default_size(pools) else set())
    changed = hugepools.release(role, keep, {hugepools.knob(pool) for pool in boot}, check=check)
    for path, pool in sorted(
        runtime.items(), key=lambda item: -item[1].size_kib
    ):  # the largest find room first
        changed |= hugepools.grant(role, pool, path=path, persist=module.params["persist"], check=check)
    waiting = []
    if boot and hugepools.booted_with(
        hugepages.arguments(entries, int(wanted.get("hugepages_default_size_kib") or 0))
    ):
        if short := [why for pool in boot if (why := hugepools.missing_at_boot(pool))]:
            module.fail_json(msg="\n".join(short))
    else:
        waiting = [str(pool) for pool in boot]
    msg = f"after the next boot: {', '.join(waiting)} (role boot)" if waiting else "all are there"
    module.exit_json(changed=changed, waiting=waiting, msg=msg)


def _of_default_size(pools: list[hugepages.Pool]) -> bool:
    return any(pool.size_kib == hugepages.DEFAULT_SIZE_KIB for pool in pools)


if __name__ == "__main__":
    main()
