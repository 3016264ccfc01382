"""Whether programs can run under Onload here. Nothing is changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from labkit.doctor.model import Unavailable
from labkit.machine.fix import as_root

PROGRAM = "onload"
_DEVICE = Path("/dev/onload")
_MODULE = Path("/sys/module/onload")


def loaded() -> str:
    """The wrapper is there, and its modules are loaded."""
    path = f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin"
    if shutil.which(PROGRAM, path=path) is None:
        raise Unavailable(f"no program {PROGRAM}: Onload is not installed")
    if not _MODULE.exists():
        raise Unavailable("the kernel module onload is not loaded", fix=as_root("modprobe onload"))
    if not _DEVICE.is_char_device():
        raise Unavailable(f"{_DEVICE} is no character device")
    return f"the program {PROGRAM} and the module onload"


def fix() -> str:
    """By the role."""
    return (
        "none but by the role openonload: openonload_version and openonload_sha256, then "
        "ansible-playbook -i INVENTORY ansible/site.yml --tags openonload"
    )
