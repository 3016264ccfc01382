"""A whole run, as results.json holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labkit.results.model import Measurement, Verdict
from labkit.results.provenance import Environment

SCHEMA_VERSION = 1
"""Raised whenever a reader of the former version would misread a file; newer ones are refused."""

State = Literal["finished", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """What is known when a run begins."""

    id: str
    """UTC time and a short random part: the folder's name."""
    started: str
    """UTC, ISO 8601."""
    labkit_version: str
    command: tuple[str, ...]
    """As typed, without the program's folder; home folders are written as ~."""
    quick: bool
    """Shorter trials and fewer of them: for a look, not for a quotation."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended."""

    state: State
    ended: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that one run left."""

    schema_version: int
    start: RunStart
    end: RunEnd | None
    """None: it was killed, or is still going; what it had finished is here."""
    environment: Environment | None
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def state(self) -> State:
        """A run without an end was killed: interrupted."""
        return self.end.state if self.end else "interrupted"
