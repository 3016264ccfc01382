"""GRUB itself, as the emulator of Debian's package grub-emu: runs a grub.cfg and tells what it would boot."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

EMULATOR = shutil.which("grub-emu")
MISSING = "no GRUB to ask: apt-get install grub-emu"
# The emulator of GRUB 2.06 has no command linux, that of 2.12 has one, which goes before a function of that name.
_LINUX = 'function print_linux {\n  for word in "$@"; do\n    echo "<$word>"\n  done\n  reboot\n}\n'


def _printing(text: str) -> str:
    """The same configuration, its command linux renamed to the function that prints."""
    return re.sub(r"^(\s*(?:if )?)linux\b", r"\1print_linux", text, flags=re.MULTILINE)


class RealGrub:
    """In a folder of its own, without a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, text: str, environment: Sequence[str] = (), custom: str | None = None) -> str:
        """What it printed until an entry rebooted."""
        (self.folder / "grub.cfg").write_text(text)
        if custom is not None:
            (self.folder / "custom.cfg").write_text(custom)
        block = "# GRUB Environment Block\n" + "".join(f"{one}\n" for one in environment)
        (self.folder / "grubenv").write_text(block.ljust(1024, "#"))
        done = subprocess.run(
            [str(EMULATOR), "-m", "/dev/null", "-d", str(self.folder), "-r", "host"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            env={"TERM": "dumb"},
        )
        return done.stdout + done.stderr

    def linux(self, text: str, environment: Sequence[str] = (), custom: str | None = None) -> list[str]:
        """The words that the chosen entry gives to its command linux: image and arguments."""
        text = re.sub(r"^\s*set timeout=.*$", "  set timeout=0", text, flags=re.MULTILINE)
        # It would draw its menu in a font that is not there.
        text = re.sub(r"^\s*(terminal_output gfxterm|gfxmode \S+)$", "  true", text, flags=re.MULTILINE)
        said = self.run(_LINUX + _printing(text), environment, custom and _printing(custom))
        words = [re.sub(r"[\r\n]", "", word) for word in re.findall(r"<(.*?)>", said, re.DOTALL)]
        assert words, said
        return words
