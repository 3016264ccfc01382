"""How a topology has programs run under Onload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PROFILE: Final = "latency"
"""It spins (EF_POLL_USEC): without that, Onload over AF_XDP wakes a program by a timer of some 90 ms."""
NO_FAIL: Final = "EF_NO_FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnloadSettings:
    """The key `onload`."""

    profile: str = PROFILE
    """As onload's option -p has it: one of Onload's, several with commas, or a file."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables EF_...; they go before those of the profile."""

    @property
    def wrapper(self) -> tuple[str, ...]:
        """Goes before a program. A socket that Onload can not accelerate fails; it would silently be the kernel's."""
        own = {**self.environment, NO_FAIL: "0"}
        return ("env", *(f"{name}={value}" for name, value in own.items()), "onload", "-p", self.profile)
