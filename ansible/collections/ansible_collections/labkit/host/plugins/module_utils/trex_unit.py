"""The unit of TRex servers, one instance for each configuration, and what one instance has in addition. Pure.

TRex answers everybody who reaches its ports and can't be given an address to listen at. So a server has a network
namespace of its own, with a loopback interface alone; one that needs the kernel's interfaces has a filter instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .unit_parts import FOLDER, NO_MORE

API_PATH = f"{FOLDER}/trex_api.py"
CONFIGURATIONS = "/etc/labkit/trex"
TEMPLATE_PATH = "/etc/systemd/system/labkit-trex@.service"
INSTANCE = "host"
"""The one of the inventory's `trex_ports`."""
UNIT = f"labkit-trex@{INSTANCE}.service"
CONFIGURATION_PATH = f"{CONFIGURATIONS}/{INSTANCE}.yaml"
DROP_IN_PATH = f"/etc/systemd/system/{UNIT}.d/10-labkit.conf"
STARTED_OF = "LABKIT_TREX_STARTED_OF"
"""Variable in the server's environment: what it was started of. Another value asks for a restart."""


@dataclass(frozen=True)
class Instance:
    """A server that runs, or may."""

    unit: str
    configuration: str
    """Path of its configuration."""


HOST = Instance(UNIT, CONFIGURATION_PATH)
LAB = Instance("labkit-trex-lab.service", "/run/labkit-trex-lab.yaml")
"""That of a lab. It has no file outside /run, and so nothing of it outlives a reboot."""
LAB_UNIT_PATH = f"/run/systemd/system/{LAB.unit}"


def template(folder: str) -> str:
    """The unit. `folder` has the link `current` to the server's files."""
    return f"""\
# Written by labkit (role trex). Removed by its revert.
[Unit]
Description=labkit: TRex server %i
Documentation=https://trex-tgn.cisco.com/trex/doc/
After=network.target systemd-modules-load.service labkit-host.service
AssertPathExists={CONFIGURATIONS}/%i.yaml
StartLimitIntervalSec=5min
StartLimitBurst=3

[Service]
{_start(folder, f"{CONFIGURATIONS}/%i.yaml", "labkit-trex-%i")}
Restart=on-failure
RestartSec=5

{_RIGHTS}
[Install]
WantedBy=multi-user.target
"""


def of_lab(folder: str, *, own_network: bool) -> str:
    """The unit of a lab's server. It is not started again: who measures is to learn that it died."""
    return f"""\
# Written by labkit for a lab. Removed with it, and by: labkit down
[Unit]
Description=labkit: TRex server of a lab
Documentation=https://trex-tgn.cisco.com/trex/doc/

[Service]
{_start(folder, LAB.configuration, LAB.unit.removesuffix(".service"))}

{_RIGHTS}
{"" if own_network else _IN_HOSTS_NETWORK}"""


def folder_of(unit: str) -> str | None:
    """The folder in the text of a unit, as the role was told; None: the text is another one."""
    found = re.search(r"^WorkingDirectory=(/.+)/current$", unit, re.MULTILINE)
    return found.group(1) if found else None


def _start(folder: str, configuration: str, runtime_directory: str) -> str:
    return f"""\
Type=exec
# It finds its libraries from where it is started.
WorkingDirectory={folder}/current
ExecStart={folder}/current/_t-rex-64 -i --cfg {configuration} --no-key --no-termio --iom 0 --hdrh \\
    --no-scapy-server
# Started is one that answers, in its own network namespace.
ExecStartPost=/usr/bin/python3 {API_PATH} wait --configuration {configuration}
TimeoutStartSec=120
TimeoutStopSec=20
# It ends so after SIGTERM.
SuccessExitStatus=255
# DPDK's, for it takes the variable of this name for its files.
RuntimeDirectory={runtime_directory}
RuntimeDirectoryMode=0700"""


_RIGHTS = f"""\
# Rings of packet sockets and DMA memory are locked.
LimitMEMLOCK=infinity

# Nobody else reaches what it listens at. Clients: nsenter --net=/proc/MAINPID/ns/net.
PrivateNetwork=yes

# It refuses to run as another user than root, so root's rights are taken away. NICs are opened by vfio, whose devices
# and hugepages are root's own files.
CapabilityBoundingSet=CAP_IPC_LOCK
DevicePolicy=closed
DeviceAllow=char-vfio rw
DeviceAllow=char-infiniband_verbs rw
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
{NO_MORE}
"""

_IN_HOSTS_NETWORK = """\
# Its ports are interfaces of this network namespace. It can't be given an address to listen at: all but loopback is
# filtered.
PrivateNetwork=no
IPAddressDeny=any
IPAddressAllow=localhost
# Packet sockets; and DPDK does not start a port that it may not set.
CapabilityBoundingSet=CAP_NET_RAW CAP_NET_ADMIN
"""


def drop_in(*, own_network: bool, started_of: str) -> str:
    """What the instance of `trex_ports` has in addition."""
    network = "" if own_network else _IN_HOSTS_NETWORK
    return (
        "# Written by labkit (role trex). Removed by its revert.\n[Service]\n"
        f"Environment={STARTED_OF}={started_of}\n{network}"
    )
