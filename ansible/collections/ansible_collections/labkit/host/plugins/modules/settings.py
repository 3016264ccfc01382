#!/usr/bin/python
"""Set values of the kernel."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import cpus, settings
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: settings
short_description: Set values in /proc/sys or /sys, and read them back
description:
  - Records each old value, writes the new one and reads it back. A value that is not in effect is an error, reported
    after the others are set.
  - A missing file is reported before the first value is written.
  - Settings of a core that is offline are left out, with a warning.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  values:
    description: The values to set.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: File below /proc/sys or /sys., type: path, required: true}
      value: {description: Value to write., type: str, required: true}
      reads_as: {description: How the value read back is compared., type: str, default: exact,
                 choices: [exact, selected, cpumask, cpulist, int]}
  persist: {description: Whether to set them again at every boot (role replay)., type: bool, default: false}
  missing: {description: Whether a file that the kernel does not have fails the task or is skipped., type: str,
            default: fail, choices: [fail, skip]}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Let sockets poll for 50 us
  labkit.host.settings:
    role: af_xdp
    values:
      - {path: /proc/sys/net/core/busy_read, value: "50", reads_as: int}
      - {path: /proc/sys/net/core/busy_poll, value: "50", reads_as: int}
    persist: true
"""

RETURN = """
set:
  description: The changed files, each with the old and the new value.
  type: list
  elements: str
  returned: success
  sample: ["/proc/sys/net/core/busy_poll: 0 -> 50"]
offline:
  description: Cores that are offline, whose settings were left out.
  type: list
  elements: int
  returned: success
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "values": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "value": {"type": "str", "required": True},
                    "reads_as": {"type": "str", "default": "exact", "choices": sorted(settings.READERS)},
                },
            },
            "persist": {"type": "bool", "default": False},
            "missing": {"type": "str", "default": "fail", "choices": ["fail", "skip"]},
        },
        supports_check_mode=True,
    )
    given = module.params
    offline = [
        core for one in given["values"] if (core := settings.Setting(one["path"]).offline()) is not None
    ]
    wanted = [
        (settings.Setting(one["path"], one["reads_as"]), one["value"])
        for one in given["values"]
        if settings.Setting(one["path"]).offline() is None and _there(module, one["path"])
    ]
    if offline:
        module.warn(
            f"cores {cpus.listed(offline)} are offline (SMT off?) and left out: {', '.join(_files(given['values']))}"
        )
    diff: list[dict[str, str]] = []
    refused: list[str] = []
    for setting, value in wanted:
        try:
            changed, before = settings.change(
                given["role"], setting, value, persist=given["persist"], check=module.check_mode
            )
        except (settings.SettingRefused, StateUnreadable, ValueError, OSError) as error:
            refused.append(str(error))
            continue
        if changed:
            header = {"before_header": setting.path, "after_header": setting.path}
            diff.append({**header, "before": f"{before}\n", "after": f"{value}\n"})
    if refused:
        module.fail_json(msg="; ".join(dict.fromkeys(refused)), changed=bool(diff), diff=diff)
    set_values = [f"{one['after_header']}: {one['before'].strip()} -> {one['after'].strip()}" for one in diff]
    module.exit_json(changed=bool(diff), set=set_values, offline=offline, diff=diff)


def _files(values: list[dict[str, str]]) -> list[str]:
    """Names of the files that are set, each once."""
    return list(dict.fromkeys(one["path"].rpartition("/")[2] for one in values))


def _there(module: AnsibleModule, path: str) -> bool:
    """Whether this kernel has it; ends the module where it must."""
    if not path.startswith(("/proc/sys/", "/sys/")):
        module.fail_json(
            msg=f"{path}: expected a file below /proc/sys or /sys; other files: labkit.host.file"
        )
    there = settings.Setting(path).exists()
    if not there and module.params["missing"] == "fail":
        module.fail_json(msg=f"{path}: this kernel does not have it")
    return there


if __name__ == "__main__":
    main()
