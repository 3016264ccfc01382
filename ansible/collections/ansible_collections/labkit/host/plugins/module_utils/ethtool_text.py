"""What `ethtool` prints, read. Pure.

Its text has kept its labels from 5.x to 6.14, on Ubuntu 22.04, Debian 12 and 13 and EL 9 alike. Its JSON has not: which
commands know it differs by version, and `--json -c` gave "rx" to adaptive moderation and to the CQE mode at once
before 6.10, so that one of the two is lost. So the text is the one that is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import digits


@dataclass(frozen=True)
class Value:
    """One setting of an interface."""

    now: str
    """What is in effect."""
    kept: str
    """What has to be set to get it back: a feature may be asked for, and not be in effect."""
    fixed: bool = False
    """The driver lets nobody change it."""
    most: int | None = None
    """The highest that the driver takes, where it is known."""


Values = dict[str, Value]

RENAMED = {
    "autonegotiate": "autoneg",
    "tx-push-buff-len": "tx-push-buf-len",
    "rx-frame-low": "rx-frames-low",
    "tx-frame-low": "tx-frames-low",
    "rx-frame-high": "rx-frames-high",
    "tx-frame-high": "tx-frames-high",
}
"""Labels that are not the words that set them."""

FEATURES = {
    "rx": "rx-checksumming",
    "tx": "tx-checksumming",
    "sg": "scatter-gather",
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
    "lro": "large-receive-offload",
    "rxvlan": "rx-vlan-offload",
    "txvlan": "tx-vlan-offload",
    "ntuple": "ntuple-filters",
    "rxhash": "receive-hashing",
}
"""The short words for features, which every version takes, and what `ethtool -k` prints."""


def labelled(text: str) -> Values:
    """Of -g, -l and -a: "RX: 256" line by line, below the maximums where there are any. What is n/a is left out."""
    most: dict[str, int] = {}
    now: dict[str, str] = {}
    above = False
    for line in text.splitlines():
        label, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            continue
        if not value:
            above = label == "Pre-set maximums"
            continue
        key = label.lower().replace(" ", "-")
        key = RENAMED.get(key, key)
        if value == "n/a":
            continue
        if not above:
            now[key] = value
        elif (number := digits.whole(value)) is not None:
            most[key] = number
    return {
        key: Value(value, value, fixed=key.endswith("-negotiated"), most=most.get(key))
        for key, value in now.items()
    }


def coalescing(text: str) -> Values:
    """Of -c."""
    found: Values = {}
    for line in text.splitlines():
        pair = re.fullmatch(r"(Adaptive|CQE mode) RX: (\S+)\s+TX: (\S+)", line.strip())
        if pair:
            name = {"Adaptive": "adaptive", "CQE mode": "cqe-mode"}[pair.group(1)]
            words = [(f"{name}-rx", pair.group(2)), (f"{name}-tx", pair.group(3))]
        else:
            one = re.fullmatch(r"([a-z-]+):\s+(\S+)", line.strip())
            words = [(RENAMED.get(one.group(1), one.group(1)), one.group(2))] if one else []
        found.update({key: Value(value, value) for key, value in words if value != "n/a"})
    return found


def features(text: str) -> tuple[Values, dict[str, list[str]]]:
    """Of -k: the features, and those names that stand for several, with which."""
    found: Values = {}
    members: dict[str, list[str]] = {}
    head = ""
    for line in text.splitlines():
        one = re.fullmatch(
            r"(\t?)([\w-]+): (on|off)(?: \[(fixed|requested on|requested off)\])?", line.rstrip()
        )
        if not one:
            continue
        indent, name, now, note = one.groups()
        if indent:
            members.setdefault(head, []).append(name)
        else:
            head = name
        kept = note.rpartition(" ")[2] if note and note != "fixed" else now
        found[name] = Value(now, kept, fixed=note == "fixed")
    return {name: value for name, value in found.items() if name not in members}, members


def permanent_address(text: str) -> str | None:
    """Of -P; None: the interface has none (veth, tap)."""
    found = re.search(r"((?:[0-9a-f]{2}:){5,}[0-9a-f]{2})", text)
    return found.group(1) if found and set(found.group(1)) != {"0", ":"} else None


@dataclass(frozen=True)
class Indirection:
    """Of -x: which receive queue each slot of the hash leads to."""

    table: tuple[int, ...]
    rings: int

    def words(self) -> str | None:
        """The words that set this table; None: there are none, so it could not be restored."""
        if self.table == self.of("default"):
            return "default"
        start = min(self.table)
        for count in range(1, max(self.table) - start + 2):
            words = f"equal {count}" + (f" start {start}" if start else "")
            if self.table == self.of(words):
                return words
        if list(self.table) == sorted(self.table):
            return "weight " + " ".join(str(self.table.count(queue)) for queue in range(max(self.table) + 1))
        return None

    def of(self, words: str) -> tuple[int, ...]:
        """The table that these words make. Raises ValueError for what are none."""
        size = len(self.table)
        if words == "default":
            return tuple(slot % self.rings for slot in range(size))
        equal = re.fullmatch(r"equal ([0-9]{1,9})(?: start ([0-9]{1,9}))?", words)
        if equal and int(equal.group(1)) > 0:
            return tuple(int(equal.group(2) or 0) + slot % int(equal.group(1)) for slot in range(size))
        weight = re.fullmatch(r"weight((?: [0-9]{1,9})+)", words)
        weights = [int(word) for word in weight.group(1).split()] if weight else []
        if 0 < sum(weights) <= size:
            return _weighted(weights, size)
        raise ValueError(
            f"rss {words!r}: expected default, equal N, equal N start QUEUE, or weight W0 W1 ... (up to {size})"
        )


def _weighted(weights: list[int], size: int) -> tuple[int, ...]:
    """As `ethtool -X weight` fills it: each queue one run of slots, in proportion."""
    table: list[int] = []
    queue, partial = -1, 0
    for slot in range(size):
        while slot >= size * partial // sum(weights):
            queue += 1
            partial += weights[queue]
        table.append(queue)
    return tuple(table)


def indirection(text: str) -> Indirection | None:
    """Of -x; None: the driver has no such table."""
    head = re.search(r"with (\d+) RX ring", text)
    rows = re.findall(r"^\s*\d+:((?:\s+\d+)+)\s*$", text, re.MULTILINE)
    table = tuple(int(word) for row in rows for word in row.split())
    return Indirection(table, int(head.group(1))) if head and table else None
