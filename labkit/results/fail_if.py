"""When a comparison fails, for a pipeline: the conditions that `labkit compare --fail-if` takes."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.errors import ConfigInvalid
from labkit.results.comparison import INVALID, NOT_COMPARABLE, Comparison, Difference
from labkit.yamlfile import suggest

DIRECTIONS = {
    "lower": "a figure of B is lower than that of A, beyond their uncertainty",
    "higher": "a figure of B is higher",
    "slower": "a rate of B is lower or a time of B is higher",
    "change": "a figure of B is lower or higher",
}
STATES = {
    "invalid": "a figure of A or B can't be trusted",
    "missing": "a figure could not be compared",
}
WORDS = {**DIRECTIONS, **STATES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition, as written "slower:10%"."""

    word: str
    beyond: float = 0.0
    """Share of A's figure that a difference must pass; beyond the uncertainty it must be in any case."""

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.word}:{self.beyond * 100:g}%" if self.beyond else self.word

    def met_by(self, found: Comparison) -> tuple[Difference, ...]:
        """The metrics that meet it."""
        return tuple(d for d in found.differences if self._met(d))

    def _met(self, d: Difference) -> bool:
        if self.word in STATES:
            return d.finding == {"invalid": INVALID, "missing": NOT_COMPARABLE}[self.word]
        slower = "lower" if d.unit == "pps" else "higher"
        wanted = {"change": ("lower", "higher"), "slower": (slower,)}.get(self.word, (self.word,))
        # Without a ratio (A's figure is nothing) there is no share that could be too small.
        return d.finding in wanted and (d.ratio is None or abs(d.ratio - 1.0) > self.beyond)


def parse(text: str) -> tuple[Condition, ...]:
    """Read "slower:10%,invalid". Raises ConfigInvalid for anything else."""
    return tuple(_condition(part.strip()) for part in text.split(","))


def _condition(text: str) -> Condition:
    word, colon, share = text.partition(":")
    if word not in WORDS:
        raise ConfigInvalid(
            f"--fail-if {text!r}: expected {', '.join(WORDS)}",
            hint=suggest(word, list(WORDS)) if word else "such as --fail-if slower:10%,invalid",
        )
    if not colon:
        return Condition(word=word)
    if word in STATES:
        raise ConfigInvalid(f"--fail-if {text!r}: {word} has no share", hint=f"--fail-if {word}")
    try:
        percent = float(share.strip().removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0.0 <= percent < float("inf"):
        raise ConfigInvalid(
            f"--fail-if {text!r}: expected a share of A's figure in percent", hint=f"--fail-if {word}:10%"
        )
    return Condition(word=word, beyond=percent / 100.0)


def as_json(condition: Condition, found: Comparison) -> dict[str, object]:
    """Whether it is met, and by which metrics."""
    met = condition.met_by(found)
    by = [{"id": d.key.id, "kind": d.kind, "metric": d.metric, "ratio": d.ratio} for d in met]
    return {"condition": condition.text, "met": bool(met), "by": by}
