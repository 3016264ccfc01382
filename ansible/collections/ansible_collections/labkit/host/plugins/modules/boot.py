#!/usr/bin/python
"""Change kernel and command line as one."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import (
    boot,
    boot_initramfs,
    boot_kernels,
    boot_look,
    boot_revert,
)
from ansible_collections.labkit.host.plugins.module_utils.boot_commands import CommandFailed
from ansible_collections.labkit.host.plugins.module_utils.boot_loaders import NoLoader
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: boot
short_description: Kernel and kernel arguments, tried for one boot before they become the default
description:
  One step of the change a task. look tells how far the host is from what is wanted and changes nothing; pin keeps the
  running kernel the default whatever kernels are installed; initramfs says how initrds are built; try chooses what is
  wanted for the next boot alone; confirm makes what runs the default if it is that, else takes the trial back and
  fails; revert makes the kernel that ran first the default again, without our arguments, and tells whether a reboot
  is needed before the rest can be taken back.
options:
  step: {description: Which., type: str, required: true, choices: [look, pin, initramfs, try, confirm, revert]}
  arguments: {description: Kernel arguments of ours in their order., type: list, elements: str, default: []}
  flavour: {description: What the kernel must prove to be., type: str, default: generic,
            choices: [generic, lowlatency, rt]}
  preempt: {description: Preemption mode that must be in effect., type: str, default: "",
            choices: ["", none, voluntary, full, lazy]}
  release: {description: Kernel as uname -r tells it; empty is that of packages or the default one., type: str,
            default: ""}
  packages: {description: Packages that brought the kernel., type: list, elements: str, default: []}
  panic_s: {description: Seconds after which a trial that panics reboots., type: int, default: 10}
  confirm_s: {description: Seconds after which a trial that nobody confirms reboots., type: int, default: 900}
  initramfs_modules: {description: MODULES of initramfs-tools., type: str, default: "", choices: ["", dep, most]}
  initramfs_compress: {description: COMPRESS of initramfs-tools., type: str, default: "", choices: ["", lz4, zstd]}
author: [the labkit authors (@labkit)]
"""

_ROLE = "lowlatency_kernel"


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "step": {
                "type": "str",
                "required": True,
                "choices": ["look", "pin", "initramfs", "try", "confirm", "revert"],
            },
            "arguments": {"type": "list", "elements": "str", "default": []},
            "flavour": {"type": "str", "default": "generic", "choices": list(boot_kernels.FLAVOURS)},
            "preempt": {"type": "str", "default": "", "choices": ["", *boot_kernels.PREEMPT]},
            "release": {"type": "str", "default": ""},
            "packages": {"type": "list", "elements": "str", "default": []},
            "panic_s": {"type": "int", "default": 10},
            "confirm_s": {"type": "int", "default": 900},
            "initramfs_modules": {"type": "str", "default": "", "choices": ["", *boot_initramfs.MODULES]},
            "initramfs_compress": {"type": "str", "default": "", "choices": ["", *boot_initramfs.COMPRESS]},
        },
        supports_check_mode=True,
    )
    try:
        result = _step(module)
    except (
        boot.TrialFailed,
        boot_look.BootRefused,
        boot_initramfs.NoInitramfsTools,
        CommandFailed,
        NoLoader,
        StateUnreadable,
        ValueError,
        OSError,
    ) as error:
        # Whatever it was: a kernel on trial that was not confirmed shall not go on running.
        module.fail_json(msg=str(error), running_trial=boot_kernels.running().trial() is not None)
    module.exit_json(**result)


def _step(module: AnsibleModule) -> dict[str, object]:
    given, check = module.params, module.check_mode
    wanted = boot_look.Wanted(
        arguments=tuple(given["arguments"]),
        flavour=given["flavour"],
        preempt=given["preempt"],
        release=given["release"],
        packages=tuple(given["packages"]),
    )
    if given["step"] == "look":
        found = boot_look.look(wanted, expected=not check)
        return {
            "changed": False,
            "needed": found.needed,
            "reasons": found.reasons,
            "release": found.release,
            "running": found.running,
        }
    if given["step"] == "pin":
        return {"changed": boot.pin(check=check)}
    if given["step"] == "initramfs":
        modules, compress = given["initramfs_modules"], given["initramfs_compress"]
        return {"changed": boot_initramfs.change(_ROLE, modules=modules, compress=compress, check=check)}
    if given["step"] == "try":
        panic_s, confirm_s = given["panic_s"], given["confirm_s"]
        return {"changed": boot.try_once(wanted, panic_s=panic_s, confirm_s=confirm_s, check=check)}
    if given["step"] == "confirm":
        return {"changed": boot.confirm(wanted, check=check)}
    reverted = boot_revert.revert(panic_s=given["panic_s"], confirm_s=given["confirm_s"], check=check)
    if reverted.warning:
        module.warn(reverted.warning)
    return {"changed": bool(reverted.done), "undone": reverted.done, "reboot": reverted.reboot}


if __name__ == "__main__":
    main()
