"""Our files beside /etc/default/grub, and what all of them together say. The user's own lines are only read.

89-labkit-default.cfg pins the default to one kernel. 90-labkit.cfg adds kernel arguments, one a line, to
GRUB_CMDLINE_LINUX_DEFAULT: behind the user's, so that ours count, and not to GRUB_CMDLINE_LINUX, so that the recovery
entries stay a way out of them.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .boot_commands import Run
from .kernel_words import words

PIN = "/etc/default/grub.d/89-labkit-default.cfg"
ARGUMENTS = "/etc/default/grub.d/90-labkit.cfg"
_ARGUMENT = re.compile(r'^GRUB_CMDLINE_LINUX_DEFAULT="\$GRUB_CMDLINE_LINUX_DEFAULT (\S+)"$', re.MULTILINE)
# As grub-mkconfig reads them. $1: the root folder, without a slash at its end.
_SCRIPT = """
if test -f "$1/etc/default/grub" ; then . "$1/etc/default/grub" ; fi
for x in "$1"/etc/default/grub.d/*.cfg ; do if [ -e "${x}" ]; then . "${x}" ; fi ; done
printf '%s\\n' "LABKIT" "$GRUB_DEFAULT" "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
"""


@dataclass(frozen=True)
class Configured:
    """What the next update-grub will write."""

    default: str
    """As it will stand in grub.cfg."""
    arguments: tuple[str, ...]
    """Of ordinary entries, after root= and ro. What begins with $ is filled in by GRUB."""


def pin_text(path: str) -> str:
    """Content of our file that pins the default."""
    return (
        "# Written by labkit: a kernel becomes the default only after it has booted once and was found right.\n"
        "# Taken back by ansible/revert.yml; until then this counts, and not GRUB_DEFAULT of /etc/default/grub.\n"
        f"GRUB_DEFAULT='{path}'\n"
    )


def arguments_text(arguments: Sequence[str]) -> str:
    """Content of our file with the kernel arguments."""
    lines = [
        f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {argument}"\n' for argument in arguments
    ]
    return (
        "# Written by labkit, in this order; they were booted once before. Taken back by ansible/revert.yml.\n"
        + "".join(lines)
    )


def our_arguments(root: Path = Path("/")) -> list[str]:
    """Those in our file; none where it is not there."""
    file = root / ARGUMENTS.lstrip("/")
    return _ARGUMENT.findall(file.read_text()) if file.exists() else []


def pinned(root: Path = Path("/")) -> str | None:
    """The entry that our file pins; None: it is not there."""
    file = root / PIN.lstrip("/")
    found = re.search(r"^GRUB_DEFAULT='(.*)'$", file.read_text(), re.MULTILINE) if file.exists() else None
    return found.group(1) if found else None


def forced_partuuid(root: Path = Path("/")) -> str | None:
    """The file by which Ubuntu's 10_linux tries each kernel without its initrd first; None: there is none."""
    for file in [root / "etc/default/grub", *sorted((root / "etc/default/grub.d").glob("*.cfg"))]:
        if file.exists() and re.search(r"^\s*GRUB_FORCE_PARTUUID=.", file.read_text(), re.MULTILINE):
            return f"/{file.relative_to(root)}"
    return None


def configured(run: Run, root: Path = Path("/")) -> Configured:
    """Read all of them as grub-mkconfig does. Raises CommandFailed where a file is no shell."""
    said = run(["sh", "-c", _SCRIPT, "sh", str(root).rstrip("/")])
    default, line = said.rpartition("LABKIT\n")[2].split("\n")[:2]
    written = {"": "0", "saved": "${saved_entry}"}.get(default, default)
    return Configured(written, tuple(words(line)))


def foreseen(ours: Mapping[str, str | None], run: Run, root: Path = Path("/")) -> Configured:
    """What all of them would say with these of ours (None: without it), tried on copies. Raises CommandFailed."""
    theirs = [root / "etc/default/grub", *(root / "etc/default/grub.d").glob("*.cfg")]
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        copies = Path(folder)
        (copies / "etc/default/grub.d").mkdir(parents=True)
        for file in theirs:
            if file.is_file():
                shutil.copyfile(file, copies / file.relative_to(root))
        for path, text in ours.items():
            if text is None:
                (copies / path.lstrip("/")).unlink(missing_ok=True)
            else:
                (copies / path.lstrip("/")).write_text(text)
        return configured(run, copies)
