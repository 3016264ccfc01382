"""Files of targets: the bounds that rows of a topology have to meet.

targets:
  - backend: [xdp, af_xdp]      # a name or a list; left out: all. mode and frame likewise
    frame: 64
    offered_within: "<= 1 %"    # any metrics, and `load` for those of latency

Several topologies may name one file: an entry may be for a backend or a mode that one of them does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from labkit.errors import ConfigInvalid, Mistakes
from labkit.lab.topology import Tier
from labkit.measure import frame_size
from labkit.record.model import HOST, HostKey, Key
from labkit.targets.evaluation import Target, parse_targets
from labkit.targets.metrics import METRICS, Metric
from labkit.units import parse_load
from labkit.yamlfile import Node, parse_yaml, suggest

_WHY = {
    False: "the figure would be this machine's, not the datapath's",
    True: "any machine may run it, and a shared or virtual one misses such a bound whatever its kernel does",
}
"""Why an absolute target is refused, of a datapath (False) and of a host (True)."""

WATCH_S = 300.0
"""A maximum of a host meets its bound only after so long a measurement. A miss counts however soon it came."""

_MATCH = ("backend", "mode", "frame")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsEntry:
    """One entry of a file: the rows that it is for, and the bounds that they have to meet."""

    match: dict[str, tuple[str, ...]]
    """By part of the key (backend, mode, frame): the words that fit. A part left out fits any."""
    targets: tuple[Target, ...]

    def fits(self, key: Key) -> bool:
        """Whether it is for this row."""
        parts = (
            {"backend": HOST, "mode": key.kind, "frame": ""}
            if isinstance(key, HostKey)
            else {"backend": key.backend, "mode": key.mode, "frame": key.frame}
        )
        return all(parts[part] in words for part, words in self.match.items())


def load_targets(
    path: Path, *, tier: Tier, modes: Mapping[str, Iterable[str]] | None = None
) -> tuple[TargetsEntry, ...]:
    """Read a file of targets for a topology of this tier. `modes`, by backend: those that there are; None: not checked.

    Raises ConfigInvalid with file and line: unknown key or metric, wrong unit, and absolute rates or times where the
    links are software (they would measure the machine, not the datapath; a simulated lab is no machine).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path}: expected UTF-8 text") from error
    mistakes, found = Mistakes(), list[TargetsEntry]()
    with mistakes.noted():
        root = parse_yaml(text, path, mistakes).mapping(required=("targets",))
        for node in root["targets"].items():
            with mistakes.noted():
                found.append(_entry(node, path, tier, mistakes, modes))
    mistakes.check()
    return tuple(found)


def declared(entries: Sequence[TargetsEntry], *, key: Key, kinds: Iterable[str]) -> tuple[Target, ...]:
    """Targets for a row which measurements of these kinds are to decide."""
    measured = set(kinds)
    return tuple(
        target
        for entry in entries
        if entry.fits(key)
        for target in entry.targets
        if measured.intersection(target.metric.kinds)
    )


def _entry(
    node: Node, path: Path, tier: Tier, mistakes: Mistakes, modes: Mapping[str, Iterable[str]] | None
) -> TargetsEntry:
    keys = node.mapping(required=(), optional=(*_MATCH, "load", *METRICS))
    match: dict[str, tuple[str, ...]] = {}
    right: set[str] = set()
    for part in [part for part in _MATCH if part in keys]:
        with mistakes.noted():
            match[part] = _frames(keys[part]) if part == "frame" else _words(keys[part])
            _check_words(part, keys[part], match, modes)
            right.add(part)
    load: str | None = None
    with mistakes.noted():
        load = _load(keys["load"]) if "load" in keys else None
    metrics = [name for name in keys if name not in _MATCH and name != "load"]
    targets: list[Target] = []
    for name in metrics:
        with mistakes.noted():
            targets += _targets(name, keys[name], load, path, tier)
        with mistakes.noted():
            if right >= keys.keys() & set(_MATCH):
                _check_rows(METRICS[name], keys[name], match, modes)
    if not metrics and not (isinstance(node.value, dict) and node.value.keys() - keys.keys()):
        node.fail("expected at least one metric", hint=f"one or more of {', '.join(METRICS)}")
    if "load" in keys and all(METRICS[name].kinds != ("latency",) for name in metrics):
        keys["load"].fail("only a metric of latency has a load", hint="leave it out")
    return TargetsEntry(match=match, targets=tuple(targets))


def _check_words(
    part: str, node: Node, match: Mapping[str, tuple[str, ...]], modes: Mapping[str, Iterable[str]] | None
) -> None:
    """Refuse a word that no row has: such an entry would be for no row at all, and every run would pass it."""
    if part == "backend":
        known = sorted({HOST, *(entry.name for entry in entry_points(group="labkit.backends"))})
        what = "unknown backend"
    elif part == "frame" or modes is None:
        return  # frame sizes are read, not looked up
    else:
        backends = list(match.get("backend", modes))
        if any(name not in modes for name in backends):
            return  # not a backend, which is reported already, or one whose modes are not known
        known = sorted({mode for name in backends for mode in modes[name]})
        what = f"unknown mode of {' or '.join(backends)}:"
    unknown = [word for word in match[part] if word not in known]
    if unknown:
        node.fail(f"{what} {unknown[0]!r}", hint=suggest(unknown[0], known))


def _check_rows(
    metric: Metric,
    node: Node,
    match: Mapping[str, tuple[str, ...]],
    modes: Mapping[str, Iterable[str]] | None,
) -> None:
    """Refuse a metric that no row of the entry can have: the host itself has others than a datapath."""
    backends, chosen = match.get("backend"), match.get("mode")
    if metric.of_host:
        if backends is not None and HOST not in backends:
            node.fail(
                f"only the host itself has it, not {' or '.join(backends)}",
                hint=f"write backend: {HOST}, or leave it out",
            )
        if "frame" in match:
            node.fail("the host itself has it, without frames", hint="leave frame out")
        if chosen is not None and not set(chosen) & set(metric.kinds):
            node.fail(
                f"no row of mode {' or '.join(map(repr, chosen))} has it",
                hint=f"write mode: {metric.kinds[0]}, or leave it out",
            )
        return
    if backends is not None and set(backends) == {HOST}:
        node.fail("only a datapath has it, not the host itself", hint="name another backend, or leave it out")
    if chosen is not None and modes is not None:
        others = [name for name in backends or modes if name != HOST]
        if all(name in modes for name in others) and not any(set(chosen) & set(modes[n]) for n in others):
            node.fail(
                f"no datapath has the mode {' or '.join(map(repr, chosen))}",
                hint="name another, or leave it out",
            )


def _targets(name: str, node: Node, load: str | None, path: Path, tier: Tier) -> list[Target]:
    """The targets of one metric."""
    metric = METRICS[name]
    if metric.absolute and tier in (Tier.SOFTWARE, Tier.VM):
        node.fail(
            f"an absolute target ({metric.unit}) on a lab of tier {tier}: " + _WHY[metric.of_host],
            hint="a topology that declares its machine (tier: hardware), or a test of your own"
            if metric.of_host
            else "use ratio_to_kernel, offered_within or loss_at_10_percent, or a test of your own",
        )
    bounds = {name: node.text()}
    if load is not None and metric.kinds == ("latency",):
        bounds["load"] = load
    try:
        found = parse_targets(bounds, source=f"{path}:{node.line}")
    except ConfigInvalid as error:
        node.fail(error.message, hint=error.hint)
    return [replace(t, watch_s=WATCH_S) if t.metric.of_host else t for t in found]


def _load(node: Node) -> str:
    try:
        return parse_load(node.text()).text
    except ConfigInvalid as error:
        node.fail(error.message, hint=error.hint)


def _frames(node: Node) -> tuple[str, ...]:
    """Frame sizes as rows name them: `064` is 64."""
    try:
        return tuple(str(frame_size.parse(word)) for word in _words(node))
    except ConfigInvalid as error:
        if error.line:
            raise  # with its place already
        node.fail(error.message)


def _words(node: Node) -> tuple[str, ...]:
    """One word or a list of them. The empty word is the default mode."""
    if isinstance(node.value, list):
        if not node.value:
            node.fail(
                "expected a word or a list of words", hint="leave it out: the entry is for all rows then"
            )
        return tuple(_word(item) for item in node.value)
    return (_word(node),)


def _word(node: Node) -> str:
    if not isinstance(node.value, str):
        node.fail("expected a word or a list of words")
    return node.value
