"""The unit that registers an interface with Onload at boot, and the options of Onload's modules. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .unit_parts import FOLDER

PROGRAM_PATH = f"{FOLDER}/onload_register.py"
TEMPLATE_PATH = "/etc/systemd/system/labkit-onload@.service"
OPTIONS_PATH = "/etc/modprobe.d/labkit-openonload.conf"
HELPER = "/usr/libexec/onload/bpf-link-helper"
"""Where onload_uninstall removes it, too."""
TEMPLATE = f"""\
# Written by labkit (role openonload). Removed by its revert.
[Unit]
Description=labkit: Onload on interface %I by AF_XDP
Documentation=file:{PROGRAM_PATH}
# The number of queues is set by labkit-host.service. The program waits for the interface itself.
After=systemd-modules-load.service labkit-host.service sys-subsystem-net-devices-%i.device

[Service]
Type=oneshot
RemainAfterExit=yes
# It lives until the kernel's log is judged. Where the registration is unsound it unloads Onload at once, and fails.
ExecStart=/usr/bin/python3 {PROGRAM_PATH} %I
TimeoutStartSec=180
RuntimeDirectory=labkit-onload
RuntimeDirectoryPreserve=yes

# It loads and unloads modules, and Onload's own programs do so with a shell.
NoNewPrivileges=yes
ProtectHome=yes
ProtectSystem=full
ProtectClock=yes
ProtectHostname=yes
RestrictRealtime=yes
UMask=0022

[Install]
WantedBy=multi-user.target
"""


def unit(interface: str) -> str:
    """The instance for an interface, its name escaped as systemd-escape(1) does."""
    kept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_."
    escaped = "".join(
        char
        if char in kept and not (at == 0 and char == ".")
        else "".join(f"\\x{byte:02x}" for byte in char.encode())
        for at, char in enumerate(interface)
    )
    return f"labkit-onload@{escaped}.service"


def before(first: str, others: Collection[str]) -> tuple[str, str]:
    """Path and text of what the first interface's instance has in addition: it comes before the others at boot."""
    units = " ".join(unit(name) for name in others)
    return (
        f"/etc/systemd/system/{unit(first)}.d/10-labkit.conf",
        f"# Written by labkit (role openonload). Removed by its revert.\n[Unit]\nBefore={units}\n",
    )


def options(*, flow_filters: bool, helper: bool) -> dict[str, str]:
    """Of the module sfc_resource: what /sys/module/sfc_resource/parameters then has."""
    return {
        "enable_af_xdp_flow_filters": "1" if flow_filters else "0",
        "bpf_link_helper": HELPER if helper else "(null)",
    }


def options_text(values: Mapping[str, str]) -> str:
    """The file of modprobe.d(5)."""
    words = " ".join(f"{name}={value}" for name, value in values.items() if value != "(null)")
    return f"# Written by labkit (role openonload). Removed by its revert.\noptions sfc_resource {words}\n"
