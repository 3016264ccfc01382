#!/usr/bin/python
"""Have one version of Onload installed for the kernel that runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import onload_host, onload_install, onload_plan
from ansible_collections.labkit.host.plugins.module_utils.accounts import AccountRefused
from ansible_collections.labkit.host.plugins.module_utils.onload_remove import OnloadFailed
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: onload
short_description: Build and install Onload from an unpacked source tree, by its own scripts
description:
  - Builds once for a version and a kernel, also where the tree came built. Installs only what is not installed, since
    C(onload_install) fails on a second run. Another version, archive or kind of build replaces the one that is there;
    for another kernel only its modules are added.
  - Refuses an Onload that labkit has not installed, and CPUs, kernels and firmware on which Onload does not run.
  - Modules in use are waited for, and never taken from a program. What a failed installation left is removed.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  tree: {description: Folder that the archive was unpacked to., type: path, required: true}
  version: {description: Version of the archive., type: str, required: true}
  sha256: {description: Checksum of the archive., type: str, required: true}
  sfc: {description: Whether to build and install Onload's net driver for Solarflare NICs., type: bool, default: false}
  af_xdp: {description: Whether interfaces are to be registered for AF_XDP., type: bool, default: false}
  helper: {description: Whether to install bpf-link-helper., type: bool, default: false}
  allow_unsupported_cpu: {description: Whether to install on a CPU that Onload refuses., type: bool, default: false}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Install Onload
  labkit.host.onload:
    role: openonload
    tree: /opt/openonload/9.2.1
    version: 9.2.1
    sha256: "{{ openonload_sha256 }}"
"""

RETURN = """
steps:
  description: What was done, or would be.
  type: list
  elements: str
  returned: success
  sample: [build, unload, uninstall, install]
compiles:
  description: Whether a step needs a compiler and the kernel's headers.
  type: bool
  returned: success
headers:
  description: Packages with the headers of the kernel that runs, unless they are there.
  type: list
  elements: str
  returned: success
  sample: ["linux-headers-6.1.0-56-amd64|kernel-devel-6.1.0-56-amd64"]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "tree": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True, "no_log": False},
            "sfc": {"type": "bool", "default": False},
            "af_xdp": {"type": "bool", "default": False},
            "helper": {"type": "bool", "default": False},
            "allow_unsupported_cpu": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    kernel = os.uname().release
    wanted = onload_plan.Wanted(given["version"], given["sha256"], given["sfc"], given["helper"], kernel)
    tree = Path(given["tree"])
    try:
        _refuse(given, kernel, tree)
        found = onload_install.look(wanted, tree)
        todo = onload_plan.steps(wanted, found)
        compiles = onload_plan.compiles(todo, found)
        if not module.check_mode:
            if compiles and (reason := onload_host.no_headers(kernel)):
                raise OnloadFailed(reason)
            onload_install.perform(
                given["role"], wanted, todo, tree, allow_unsupported_cpu=given["allow_unsupported_cpu"]
            )
    except (OnloadFailed, AccountRefused, StateUnreadable, ValueError, OSError) as error:
        module.fail_json(msg=f"Onload {given['version']}: {error}")
    headers = [f"linux-headers-{kernel}|kernel-devel-{kernel}"] if onload_host.no_headers(kernel) else []
    module.exit_json(changed=bool(todo), steps=todo, compiles=compiles, headers=headers)


def _refuse(given: dict[str, Any], kernel: str, tree: Path) -> None:
    """Raises OnloadFailed with all reasons why it is not for this host. Nothing was changed then."""
    if reason := onload_install.foreign(given["role"]):
        raise OnloadFailed(reason)
    variables = {
        "openonload_version": given["version"],
        "openonload_allow_unsupported_cpu": given["allow_unsupported_cpu"],
    }
    reasons = list(onload_host.machine(variables, kernel, Path("/"), af_xdp=given["af_xdp"]))
    environment = tree / "versions.env"
    text = environment.read_text(encoding="utf-8") if environment.exists() else None
    reasons += [reason] if (reason := onload_plan.source_wrong(given["version"], text)) else []
    if reasons:
        raise OnloadFailed("; ".join(reasons))


if __name__ == "__main__":
    main()
