"""The command line of the next boot: compared with what is wanted before a trial, and with that trial after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import boot_kernels, tuned
from .boot_arguments import disputed, missing
from .boot_target import Target
from .kernel_words import key, meaning, strangers

WAY_OUT = (
    "Take it out of /etc/default/grub and its drop-ins (on EL: grubby --update-kernel=ALL --remove-args), "
    "or isolate the same cores"
)
_POOLS = ("default_hugepagesz", "hugepagesz", "hugepages")
"""Of these the order among them counts: how many, of the size before."""
_HANDOFF = "vt.handoff"


@dataclass(frozen=True)
class Tried:
    """What was booted for once, or is going to be."""

    release: str
    line: tuple[str, ...]
    """Its command line."""


def lost(target: Target, ours: Sequence[str], wanted: Sequence[str], root: Path) -> str | None:
    """Why `wanted` would not be in effect on the line of a target, with the way out; None: it would."""
    now = boot_kernels.running(root)
    line = target.line(ours, wanted)
    # Words that are not known may be those that this boot got from the same place.
    unknown = [word for word in line if "$" in word]
    outside = strangers(now.arguments, [*line, *ours], now.last) if unknown else []
    reasons = list(dict.fromkeys([*missing(wanted, line, now.last), *disputed(wanted, outside, now.last)]))
    if not reasons:
        return None
    return f"{'; '.join(reasons)}. {tuned.blamed(reasons, target.filled, root) or WAY_OUT}"


def differences(next_one: Target, tried: Tried, last: int | None = None) -> list[str]:
    """What the next boot would have otherwise than the one that was tried."""
    same = next_one.release == tried.release
    reasons = [] if same else [f"it would start kernel {next_one.release}, not {tried.release}"]
    line = next_one.line((), ())
    unknown = [word for word in line if "$" in word]
    known = _by_parameter([word for word in line if word not in unknown], last)
    then = _by_parameter([word for word in tried.line if key(word) != "BOOT_IMAGE"], last)
    for name in dict.fromkeys([*known, *then]):
        here, there = known.get(name, []), then.get(name, [])
        if [one for one, _ in here] == [one for one, _ in there]:
            continue
        if not here and _may_come_from(unknown, name):
            continue
        words = " ".join(word for _, word in here), " ".join(word for _, word in there)
        reasons.append(
            f"it would have {words[0] or 'no ' + name}, and what was tried had {words[1] or 'none'}"
        )
    return reasons


def _by_parameter(words: Sequence[str], last: int | None) -> dict[str, list[tuple[object, str]]]:
    found: dict[str, list[tuple[object, str]]] = {}
    for word in words:
        name = "hugepages" if key(word) in _POOLS else key(word)
        found.setdefault(name, []).append((meaning(word, last), word))
    return found


def _may_come_from(unknown: Sequence[str], name: str) -> bool:
    return name == _HANDOFF or any("vt_handoff" not in word for word in unknown)
