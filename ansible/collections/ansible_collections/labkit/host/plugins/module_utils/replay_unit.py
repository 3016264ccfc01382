"""Installs replay.py with what it imports, and the unit that runs it at boot."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from . import files, replay, services
from .unit_parts import FOLDER, NO_MORE

UNIT = "labkit-host.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
UNIT_TEXT = f"""\
# Written by labkit. Removed by its revert.
[Unit]
Description=labkit: settings that do not outlive a boot
Documentation=file:{FOLDER}/labkit_host/replay.py
# Before any network comes up: a NIC's queues and offloads are set while nothing uses it. So also before
# sysinit.target is reached where cloud-init waits for the network in it, therefore none of the default dependencies.
DefaultDependencies=no
RequiresMountsFor=/var/lib/labkit {FOLDER}
# After sysctl.d: what was asked of labkit is what is in effect at last.
After=local-fs.target systemd-modules-load.service systemd-sysctl.service systemd-udev-trigger.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
# Some drivers have a setting only while their interface is up (the RSS table of vmxnet3): when the network has had its
# time it is tried again, and given up after the fourth time.
StartLimitIntervalSec=15min
StartLimitBurst=4

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=PYTHONPATH={FOLDER} PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m labkit_host.replay
# A NIC that hangs must not keep the machine from booting.
TimeoutStartSec=120
Restart=on-failure
RestartSec=10
RuntimeDirectory=labkit-host
RuntimeDirectoryPreserve=yes

# It writes to /proc/sys, /proc/irq and /sys, which ProtectKernelTunables would forbid, and sets NICs over netlink.
# CAP_SYS_ADMIN: some settings ask for it (kernel.numa_balancing). Files are root's own: no CAP_DAC_OVERRIDE.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
{NO_MORE}
[Install]
WantedBy=sysinit.target
"""


def sources() -> dict[str, str]:
    """File name to text of replay.py and of all of ours that it imports."""
    package = replay.__name__.rpartition(".")[0]
    return {
        f"{name.rpartition('.')[2]}.py": inspect.getsource(module)
        for name, module in sorted(sys.modules.items())
        if name.startswith(f"{package}.")
    }


def install(role: str, *, root: Path = Path("/"), check: bool = False) -> bool:
    """Install and enable it; it is not run now: all is as it should be. Returns whether that changes anything."""
    changed = False
    for name, text in sources().items():
        changed |= files.change(role, f"{FOLDER}/labkit_host/{name}", text, root=root, check=check)
    unit_changed = files.change(role, UNIT_PATH, UNIT_TEXT, root=root, check=check)
    if unit_changed and check:
        return True  # systemd does not know it yet, or not so
    if unit_changed:
        services.reload()
    return services.change(role, UNIT, enabled=True, root=root, check=check) or changed or unit_changed
