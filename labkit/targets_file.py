"""Files of targets: which rows of a topology have to hold what.

targets:
  - backend: [xdp, af_xdp]      # a name or a list; left out: all. mode and frame likewise
    frame: 64
    offered_within: "<= 1 %"    # any metrics, and `load` for those of latency
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.errors import ConfigInvalid
from labkit.metrics import METRICS
from labkit.results.model import Key
from labkit.targets import Target, parse_targets
from labkit.topology import Tier
from labkit.units import parse_load
from labkit.yamlfile import Node, parse_yaml

_WHY = {
    False: "the figure would be this machine's, not the datapath's",
    True: "any machine may run it, and a shared or virtual one misses such a bound whatever its kernel does",
}
"""Why an absolute target is refused, of a datapath (False) and of a host (True)."""

WATCH_S = 300.0
"""A host's longest time is a bound of its machine's hardware once it was looked out for so long: a second shows none.
A miss is one however soon it came."""

_MATCH = ("backend", "mode", "frame")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a file: the rows that it is for, and what they must hold."""

    match: dict[str, tuple[str, ...]]
    """By part of the key (backend, mode, frame): the words that fit. A part left out fits any."""
    targets: tuple[Target, ...]

    def fits(self, key: Key) -> bool:
        """Whether it is for this row."""
        return all(getattr(key, part) in words for part, words in self.match.items())


def load_targets(path: Path, *, tier: Tier) -> tuple[Entry, ...]:
    """Read a file of targets for a topology of this tier.

    Raises ConfigInvalid with file and line: unknown key or metric, wrong unit, and absolute rates or times where the
    links are software (they would hold the machine, not the datapath, to account; a simulated lab is no machine).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path}: expected UTF-8 text") from error
    root = parse_yaml(text, path).mapping(required=("targets",))
    return tuple(_entry(node, path, tier) for node in root["targets"].items())


def declared(entries: Sequence[Entry], *, key: Key, kinds: Iterable[str]) -> tuple[Target, ...]:
    """Targets for a row which measurements of these kinds are to decide."""
    measured = set(kinds)
    return tuple(
        target
        for entry in entries
        if entry.fits(key)
        for target in entry.targets
        if measured.intersection(target.metric.kinds)
    )


def _entry(node: Node, path: Path, tier: Tier) -> Entry:
    keys = node.mapping(required=(), optional=(*_MATCH, "load", *METRICS))
    match = {part: _words(keys[part]) for part in _MATCH if part in keys}
    targets: list[Target] = []
    for name in keys:
        if name in _MATCH or name == "load":
            continue
        if METRICS[name].absolute and tier in (Tier.SOFTWARE, Tier.VM):
            keys[name].fail(
                f"an absolute target ({METRICS[name].unit}) on a lab of tier {tier}: "
                + _WHY[METRICS[name].of_host],
                hint="a topology that declares its machine (tier: hardware), or a test of your own"
                if METRICS[name].of_host
                else "use ratio_to_kernel, offered_within or loss_at_10_percent, or a test of your own",
            )
        bounds = {name: keys[name].text()}
        if "load" in keys and METRICS[name].kinds == ("latency",):
            bounds["load"] = _load(keys["load"])
        try:
            found = parse_targets(bounds, source=f"{path}:{keys[name].line}")
        except ConfigInvalid as error:
            keys[name].fail(error.message, hint=error.hint)
        targets += [replace(t, watch_s=WATCH_S) if t.metric.of_host else t for t in found]
    if not targets:
        node.fail("expected at least one metric", hint=f"one or more of {', '.join(METRICS)}")
    if "load" in keys and all(target.load is None for target in targets):
        keys["load"].fail("only a metric of latency has a load", hint="leave it out")
    return Entry(match=match, targets=tuple(targets))


def _load(node: Node) -> str:
    try:
        return parse_load(node.text()).text
    except ConfigInvalid as error:
        node.fail(error.message, hint=error.hint)


def _words(node: Node) -> tuple[str, ...]:
    """One word or a list of them. The empty word is the default mode."""
    if isinstance(node.value, list):
        return tuple(_word(item) for item in node.value)
    return (_word(node),)


def _word(node: Node) -> str:
    if not isinstance(node.value, str):
        node.fail("expected a word or a list of words")
    return node.value
