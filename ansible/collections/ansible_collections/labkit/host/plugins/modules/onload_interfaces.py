#!/usr/bin/python
"""Have Onload loaded, and exactly these interfaces registered with it."""

from __future__ import annotations

import functools

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import (
    links,
    onload_host,
    onload_run,
    onload_unit,
    services,
)
from ansible_collections.labkit.host.plugins.module_utils.onload_remove import OnloadFailed
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: onload_interfaces
short_description: Load Onload, and register interfaces with it, now and at every boot
description:
  - Installs the template unit C(labkit-onload@.service), and enables and starts an instance for each interface. It
    judges the registration by the kernel's log, and unloads Onload at once where that is not sound.
  - Unloads and loads Onload where options or interfaces are others, since that alone takes a registration back. Modules
    in use are waited for.
  - NICs that Onload drives itself (Solarflare) have nothing to register.
  - Refuses loopback, and interfaces that the connection to this host needs.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  interfaces: {description: Interfaces by name or PCI address., type: list, elements: str, default: []}
  flow_filters: {description: Whether Onload sets flow filters in NICs., type: bool, default: false}
  helper: {description: Whether bpf-link-helper is used., type: bool, default: false}
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  management: {description: "Interfaces to protect, besides those found.", type: list, elements: str, default: []}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Register an interface
  labkit.host.onload_interfaces:
    role: openonload
    interfaces: [ens1f0]
    over_ssh: true
"""

RETURN = """
units:
  description: The units that register them.
  type: list
  elements: str
  returned: success
  sample: [labkit-onload@ens1f0.service]
options:
  description: Text of the file in /etc/modprobe.d that sets the options of Onload's modules.
  type: str
  returned: success
several_queues:
  description: Those of the interfaces to register that receive by more than one queue, and should by one.
  type: list
  elements: str
  returned: success
  sample: [ens1f0]
"""


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "interfaces": {"type": "list", "elements": "str", "default": []},
            "flow_filters": {"type": "bool", "default": False},
            "helper": {"type": "bool", "default": False},
            "over_ssh": {"type": "bool", "required": True},
            "management": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    touchable = functools.partial(links.touchable, over_ssh=given["over_ssh"], management=given["management"])
    wanted = {"openonload_interfaces": [{"name": name} for name in given["interfaces"]]}
    try:
        af_xdp, native = onload_host.interfaces(wanted, touchable)
        if reason := onload_host.unsigned_refused():
            raise OnloadFailed(reason)
        options = onload_unit.options(flow_filters=given["flow_filters"], helper=given["helper"])
        first = onload_host.without_native_xdp(af_xdp, touchable)
        changed = onload_run.apply(
            given["role"], onload_run.Asked(af_xdp, native, options, first), check=module.check_mode
        )
    except (
        OnloadFailed,
        services.ServiceFailed,
        links.Untouchable,
        WayUnknown,
        StateUnreadable,
        ValueError,
        OSError,
    ) as error:
        module.fail_json(msg=f"Onload: {error}")
    several = [name for name in af_xdp if onload_host.queues(name) > 1]
    module.exit_json(
        changed=changed,
        units=[onload_unit.unit(name) for name in af_xdp],
        options=onload_unit.options_text(options),
        several_queues=several,
    )


if __name__ == "__main__":
    main()
