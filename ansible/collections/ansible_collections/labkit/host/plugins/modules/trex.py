#!/usr/bin/python
"""Have the unit of TRex servers, and one server of it run."""

from __future__ import annotations

import functools

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.labkit.host.plugins.module_utils import links, services, trex_host, trex_server
from ansible_collections.labkit.host.plugins.module_utils.protected import WayUnknown
from ansible_collections.labkit.host.plugins.module_utils.state import StateUnreadable

DOCUMENTATION = """
module: trex
short_description: Install the unit of TRex servers, and have one run on the given ports
description:
  - Installs the template unit C(labkit-trex@.service). With ports, configures, enables and starts the instance C(host),
    waits until its API answers, and tries whether others can reach it.
  - A server that was started of another configuration or version, or that does not answer, is restarted. One that
    can't be started or that others reach is stopped, and the error has its last log lines.
  - Refuses interfaces and NICs that the connection to this host needs.
options:
  role: {description: Name of the state file that records the change., type: str, required: true}
  folder: {description: Folder with the link C(current) to the server's files., type: path, required: true}
  version: {description: "The server's version, which it must report.", type: str, required: true}
  sha256: {description: Checksum of the archive that it was unpacked of., type: str, required: true}
  ports:
    description: "Ports of the server; none: nothing is started."
    type: list
    elements: dict
    default: []
    suboptions:
      pci: {description: PCI address of a NIC., type: str, default: ""}
      interface: {description: Name of an interface of the kernel., type: str, default: ""}
      dest_mac: {description: Address that frames of this port go to by default., type: str, default: ""}
  cores: {description: Cores of the server; empty for some of the NUMA nodes of its ports., type: str, default: ""}
  threads: {description: Threads that send for each pair of ports., type: int, default: 1}
  memory_mib: {description: Hugepages that ports by PCI address take on each NUMA node., type: int, default: 2048}
  isolated: {description: "Isolated cores, which are preferred.", type: str, default: ""}
  over_ssh: {description: Whether the host is reached over SSH., type: bool, required: true}
  management: {description: "Interfaces to protect, besides those found.", type: list, elements: str, default: []}
author: [the labkit authors (@labkit)]
"""

EXAMPLES = """
- name: Have a server run on two NICs
  labkit.host.trex:
    role: trex
    folder: /opt/trex
    version: v3.08
    sha256: "{{ trex_sha256 }}"
    ports:
      - {pci: "0000:3b:00.0", dest_mac: "02:00:00:00:00:01"}
      - {pci: "0000:3b:00.1"}
    over_ssh: true
"""

RETURN = """
# Only what every module returns: changed, failed, msg.
"""


def main() -> None:
    """See DOCUMENTATION."""
    port = {
        "pci": {"type": "str", "default": ""},
        "interface": {"type": "str", "default": ""},
        "dest_mac": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "dict", "default": [], "options": port},
            "cores": {"type": "str", "default": ""},
            "threads": {"type": "int", "default": 1},
            "memory_mib": {"type": "int", "default": 2048},
            "isolated": {"type": "str", "default": ""},
            "over_ssh": {"type": "bool", "required": True},
            "management": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        changed = _change(module)
    except (
        trex_server.ServerFailed,
        services.ServiceFailed,
        links.Untouchable,
        WayUnknown,
        StateUnreadable,
        ValueError,
        OSError,
    ) as error:
        module.fail_json(msg=f"TRex {given['version']}: {error}")
    module.exit_json(changed=changed)


def _change(module: AnsibleModule) -> bool:
    given, check = module.params, module.check_mode
    if not given["ports"]:
        return trex_server.install(given["role"], given["folder"], check=check)
    touchable = functools.partial(links.touchable, over_ssh=given["over_ssh"], management=given["management"])
    ports = trex_host.ports(given["ports"], touchable)
    cores = trex_host.cores(ports, given=given["cores"], threads=given["threads"], isolated=given["isolated"])
    server = trex_server.Server(
        given["folder"],
        given["version"],
        given["sha256"],
        ports,
        cores,
        given["threads"],
        given["memory_mib"],
    )
    if not check and not trex_server.main_pid():
        short = list(trex_host.short_of_memory(ports, cores, memory_mib=given["memory_mib"]))
        if short:
            raise ValueError("; ".join(short))
    for name in trex_host.down(ports):
        module.warn(f"trex_ports: {name} is down: no frame leaves before it is set up")
    changed = trex_server.install(given["role"], given["folder"], check=check)
    changed |= trex_server.configure(given["role"], server, check=check)
    return trex_server.run(given["role"], server, check=check) or changed


if __name__ == "__main__":
    main()
