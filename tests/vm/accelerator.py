"""KVM where it works, else emulation. Found by booting a kernel: /dev/kvm is there on hosts that can't run one."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from labkit.machine.hosts import DIE_WITH_PARENT

TRY_S = 15.0
"""A kernel under KVM comes to the end of its boot without a disk within a few seconds."""


@functools.cache
def arguments(kernel: Path) -> tuple[str, ...]:
    """QEMU's arguments for machine, accelerator and CPU; LABKIT_VM_ACCEL=kvm or tcg decides without trying."""
    wanted = os.environ.get("LABKIT_VM_ACCEL", "")
    if wanted not in ("", "kvm", "tcg"):
        raise ValueError(f"LABKIT_VM_ACCEL={wanted}: expected kvm or tcg")
    if wanted == "kvm" or (not wanted and _kvm_boots(kernel)):
        return ("-machine", "q35,kernel-irqchip=split", "-accel", "kvm", "-cpu", "host")
    # No more of a CPU than DPDK asks for (SSE 4.2): registers of AVX are saved at every switch, and page tables of five
    # levels walked, by emulation. The family: Linux refuses ACPI's frequencies to the one that QEMU says otherwise
    # (tests/vm/processors.asl).
    return (
        *("-machine", "q35", "-accel", "tcg,thread=multi,tb-size=1024"),
        *("-cpu", "qemu64,family=16,model=1,+cx16,+popcnt,+ssse3,+sse4.1,+sse4.2"),
    )


def is_kvm(kernel: Path) -> bool:
    """Whether guests run on the real CPU."""
    return "kvm" in arguments(kernel)


def _kvm_boots(kernel: Path) -> bool:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = [
        *DIE_WITH_PARENT,
        *(
            "qemu-system-x86_64",
            "-machine",
            "q35,kernel-irqchip=split",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "512",
        ),
        *("-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel)),
        *("-append", "console=ttyS0 panic=-1"),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TRY_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    # Without a disk the kernel's own way ends here; one that crashes on the way doesn't come so far.
    return "VFS: Unable to mount root fs" in done.stdout or "VFS: Cannot open root device" in done.stdout
