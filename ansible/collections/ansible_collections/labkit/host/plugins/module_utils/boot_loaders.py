"""Which boot loader starts this host, found by its files and not by the distribution's name."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from .bls import Bls
from .boot_commands import Run, run
from .grub import Grub

Loader = Union[Grub, Bls]  # noqa: UP007 (Python 3.9 knows no | between classes)

_LOADER_INFO = "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""Name of the loader that started this boot, in UTF-16 after four bytes of attributes (systemd's Boot Loader
Interface). Not every GRUB names its own."""


class NoLoader(Exception):
    """There is none here that labkit can configure."""


def loader(run: Run = run, root: Path = Path("/")) -> Loader:
    """The one of this host. Raises NoLoader with the way out."""
    if (root / "run/systemd/container").exists() or (root / ".dockerenv").exists():
        raise NoLoader(
            "This is a container: it runs its host's kernel, with its host's arguments. Provision the host instead"
        )
    if "systemd-boot" in _info(root):
        raise NoLoader(
            "This host is started by systemd-boot, and labkit changes kernels over GRUB alone: install GRUB "
            "(grub-efi), or set the kernel and its arguments by hand and leave lowlatency_kernel_flavour at generic"
        )
    if (root / "boot/grub/grub.cfg").exists() and (root / "usr/sbin/update-grub").exists():
        return Grub(run, root)
    if (root / "boot/grub2/grub.cfg").exists() and (root / "boot/loader/entries").is_dir():
        return Bls(run, root)
    raise NoLoader(
        "No GRUB was found (expected /boot/grub/grub.cfg and update-grub, or EL's below /boot/grub2): a container, or "
        "a machine whose kernel is given to it from outside. Set kernel and arguments there"
    )


def _info(root: Path) -> str:
    file = root / _LOADER_INFO
    try:
        return file.read_bytes()[4:].decode("utf-16-le", errors="replace")
    except OSError:
        return ""
