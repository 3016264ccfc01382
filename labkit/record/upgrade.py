"""Results that an older labkit stored, brought to the form of this version: one pure function for each step.

`from_1` makes of a value of version 1 one of version 2, and so on. A step sees one record at a time (its kind, as in
records.jsonl, and its JSON value), because each line of records.jsonl has its own version; results.json is made of
the same values. A step changes only what it knows: what is missing or of another type stays as it is, and the strict
decoder refuses it with its JSON path.
"""

# ruff: noqa: ANN401 - JSON values of any kind, not validated yet, are what it is about

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labkit.record.run import SCHEMA_VERSION

Step = Callable[[str, Any], Any]

RUN_FIELDS = {
    "start": "start",
    "end": "end",
    "environment": "environment",
    "measurements": "measurement",
    "former_measurements": "measurement",
    "verdicts": "verdict",
    "former_verdicts": "verdict",
}
"""Field of results.json to the kind of record that it holds, one or a list of them."""


def upgrade_record(kind: str, value: Any, version: int) -> Any:
    """The value of a record of that kind and version, in the form of SCHEMA_VERSION."""
    for number in range(version, SCHEMA_VERSION):
        value = STEPS[number](kind, value)
    return value


def upgrade_run(document: Mapping[str, Any], version: int) -> dict[str, Any]:
    """A whole results.json of that version, in the form of SCHEMA_VERSION."""

    def field(name: str, value: Any) -> Any:
        kind = RUN_FIELDS.get(name)
        if kind is None:
            return value
        if isinstance(value, list):
            return [upgrade_record(kind, item, version) for item in value]
        return upgrade_record(kind, value, version)

    new = {name: field(name, value) for name, value in document.items()}
    return {**new, "schema_version": SCHEMA_VERSION}


def _at(value: Any, path: tuple[str, ...], change: Callable[[Any], Any]) -> Any:
    """`value` with `change` applied at `path`, where "*" is every item of a list; where there is no such: `value`."""
    if not path:
        return change(value)
    first, *rest = path
    if first == "*":
        return [_at(item, tuple(rest), change) for item in value] if isinstance(value, list) else value
    if isinstance(value, dict) and first in value:
        return {**value, first: _at(value[first], tuple(rest), change)}
    return value


def _rename_keys(names: Mapping[str, str]) -> Callable[[Any], Any]:
    """Change the keys of an object."""
    return lambda value: (
        {names.get(key, key): item for key, item in value.items()} if isinstance(value, dict) else value
    )


def _rename_value(names: Mapping[str, str]) -> Callable[[Any], Any]:
    """Change a string."""
    return lambda value: names.get(value, value) if isinstance(value, str) else value


# --- version 1 (labkit 0.1) to version 2 (labkit 0.2) ---


def from_1(kind: str, value: Any) -> Any:
    """The terms of the field: omitted samples, maximum offered load; the tester's engines named as the backends.

    And a key of its own for what is measured of the host.
    """
    if kind == "environment":
        value = _at(value, ("parameters",), _rename_keys(_PLAN_FROM_1))
        return _at(value, ("tools", "*", "name"), _rename_value(_PROGRAMS_FROM_1))
    value = _at(value, ("key",), _key_from_1)
    return _measurement_from_1(value) if kind == "measurement" else value


_PLAN_FROM_1 = {
    "ceiling_trials": "offered_load_trials",
    "ceiling_duration_s": "offered_load_duration_s",
    "settle": "drain",
}
_ENGINES_FROM_1 = {"packet": "af_packet", "xdp": "af_xdp", "bpf": "xdp"}
_PROGRAMS_FROM_1 = {f"labkit-probe-{old}": f"labkit-probe-{new}" for old, new in _ENGINES_FROM_1.items()}


def _key_from_1(key: Any) -> Any:
    """Version 1 kept the host in a datapath's columns: backend lowlatency, the kind as mode, link host."""
    if isinstance(key, dict) and key.get("link") == "host":
        return {"topology": key.get("topology"), "kind": key.get("mode")}
    return key


def _measurement_from_1(value: Any) -> Any:
    value = _at(value, ("tester", "engine"), _rename_value(_ENGINES_FROM_1))
    value = _at(value, ("tester",), _rename_keys({"ceiling_pps": "max_offered_load_pps"}))
    value = _at(value, ("gates", "*", "name"), _rename_value({"swallowed": "omitted"}))
    for host_kind in ("wakeup", "timerlat", "busy_loop"):
        value = _at(value, (host_kind, "cores", "*"), _rename_keys({"swallowed": "omitted"}))
    return value


STEPS: Mapping[int, Step] = {1: from_1}
"""Version to the step that leads to the next."""
