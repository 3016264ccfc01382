"""Programs of the user's own that are measured as the DUT: what a topology says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Answers = Literal["udp", "tcp", "frames"]
ANSWERS: Final[tuple[Answers, ...]] = ("udp", "tcp", "frames")
PROOFS: Final = ("udp_socket", "tcp_socket", "packet_socket", "xdp", "onload")
"""What labkit itself reads back of a program."""
READY_WITHIN_S: Final = 10.0
NAMES: Final = (
    "LABKIT_ADDRESS",
    "LABKIT_PORT",
    "LABKIT_CORE",
    "LABKIT_IP_VERSION",
    *(
        f"LABKIT_{name}{suffix}"
        for suffix in ("", "_2")
        for name in (
            *("INTERFACE", "MAC", "IPV4", "IPV6", "MTU", "VDEV"),
            *("PEER_MAC", "PEER_IPV4", "PEER_IPV6"),
        )
    ),
)
"""Variables of its environment; those that end in _2 are of the second link."""
PROGRAM: Final = "LABKIT_PID"
"""For its proof: the process id of the program."""
_VARIABLE = re.compile(r"\$(?:\{(LABKIT_\w*)\}|(LABKIT_\w*))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """How a program is seen to be ready."""

    prints: str = ""
    """A line that it prints has this in it."""
    after_s: float | None = None
    """It still runs after this time."""
    within_s: float = READY_WITHIN_S
    """With neither: as soon as its proof holds. After this time it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program."""

    name: str
    argv: tuple[str, ...]
    """No shell is asked; $LABKIT_... stands for a variable."""
    directory: str = "/"
    """Its working directory."""
    wrapper: tuple[str, ...] = ()
    """Goes before argv."""
    onload: bool = False
    """Run under Onload, as the topology's key onload has it."""
    preload: str = ""
    """A library that is loaded first."""
    environment: Mapping[str, str] = field(default_factory=dict)
    answers: Answers = "udp"
    ready: Ready = field(default_factory=Ready)
    proof: str = ""
    """One of PROOFS; empty: `proof_argv` proves it."""
    proof_argv: tuple[str, ...] = ()


def variables(text: str) -> list[str]:
    """The variables of labkit's that a word of argv names."""
    return [one or other for one, other in _VARIABLE.findall(text)]


def expand(text: str, values: Mapping[str, str]) -> str:
    """A word of argv with the values of its variables; others than labkit's stay."""
    return _VARIABLE.sub(lambda found: values[found.group(1) or found.group(2)], text)
