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
short_description: Change kernel and kernel arguments, with a trial boot before they become the default
description:
  - Each task does one step of the change.
  - C(look) compares the host with the request and changes nothing. C(pin) keeps the running kernel the default,
    whatever kernels are installed. C(initramfs) configures how initrds are built.
  - C(try) selects the requested kernel and arguments for the next boot only. C(confirm) makes the running kernel and
    arguments the default if they are those requested; otherwise it reverts the trial and fails.
  - C(revert) makes the kernel that ran before labkit the default again, without labkit's arguments, and reports
    whether a reboot is needed before the rest can be reverted.
options:
  step: {description: The step to do., type: str, required: true, choices: [look, pin, initramfs, try, confirm, revert]}
  arguments: {description: "Kernel arguments to add, in their order.", type: list, elements: str, default: []}
  flavour: {description: What the running kernel must prove to be., type: str, default: generic,
            choices: [generic, lowlatency, rt]}
  preempt: {description: Preemption mode that must be in effect., type: str, default: "",
            choices: ["", none, voluntary, full, lazy]}
  release: {description: Kernel release as uname -r prints it; empty is that of the packages or the default one.,
            type: str, default: ""}
  packages: {description: Packages that installed the kernel., type: list, elements: str, default: []}
  panic_s: {description: "Delay before a trial kernel that panicked reboots [s].", type: int, default: 10}
  confirm_s: {description: "Delay before a trial kernel that was not confirmed reboots [s].", type: int, default: 900}
  initramfs_modules: {description: MODULES of initramfs-tools., type: str, default: "", choices: ["", dep, most]}
  initramfs_compress: {description: COMPRESS of initramfs-tools., type: str, default: "", choices: ["", lz4, zstd]}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Compare the host with what is requested
  labkit.host.boot:
    step: look
    arguments: ["isolcpus=managed_irq,domain,2-7", "nohz_full=2-7"]
    flavour: rt
    packages: [linux-image-rt-amd64]
  register: found

- name: Select the real-time kernel for the next boot only
  labkit.host.boot:
    step: try
    arguments: ["isolcpus=managed_irq,domain,2-7", "nohz_full=2-7"]
    flavour: rt
    packages: [linux-image-rt-amd64]
    confirm_s: 600
  when: found.needed == 'trial'

- name: Boot the first kernel again, without labkit's arguments
  labkit.host.boot:
    step: revert
  register: reverted
"""

RETURN = """
needed:
  description: "What remains to be done: nothing, C(trial) or C(confirm)."
  type: str
  returned: with step look
  sample: trial
reasons:
  description: Differences between the host and the request.
  type: list
  elements: str
  returned: with step look
release:
  description: Kernel release to boot.
  type: str
  returned: with step look
running:
  description: Release of the running kernel.
  type: str
  returned: with step look
undone:
  description: Changes that were reverted.
  type: list
  elements: str
  returned: with step revert
reboot:
  description: Whether a reboot is needed before the rest can be reverted.
  type: bool
  returned: with step revert
running_trial:
  description: Whether the running kernel is a trial that was not confirmed.
  type: bool
  returned: failure
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
