"""A kernel as a boot loader starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import grub_script
from .boot_arguments import replaced


@dataclass(frozen=True)
class Target:
    """A kernel that the boot loader can start, as its menu has it."""

    release: str
    image: str
    arguments: tuple[str, ...]
    """Also words that the boot loader fills in, such as $tuned_params, that stand before where ours go."""
    variables: tuple[str, ...]
    """Words that the boot loader fills in, behind ours, such as $vt_handoff."""
    initrd: str
    """Empty: none."""
    preparation: tuple[str, ...]
    """Lines of the boot loader's language that find the disk."""
    filled: Mapping[str, str | None] = field(default_factory=dict)
    """Value of each of those words; None: not known."""

    def line(self, ours: Sequence[str], wanted: Sequence[str]) -> list[str]:
        """The command line as the kernel gets it, with `wanted` in the place of `ours`. What is not known stays."""
        found: list[str] = []
        for word in [*replaced(self.arguments, ours, wanted), *self.variables]:
            if "$" in word:
                value = self.filled.get(word)
                found += [word] if value is None else value.split()
            else:
                found += [one or word for one in grub_script.handed([word], grub_script.Values())]
        return found
