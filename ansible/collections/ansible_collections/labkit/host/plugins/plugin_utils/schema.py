"""The roles' argument specs as the schema of a host's variables: all mistakes are reported, each with the fix.

Ansible's own validator judges; where it is lax (text for a list, true for the word "on", a number for text) it is
not asked. Runs on the controller, and touches no host.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import MutuallyExclusiveError

_NEARLY = 0.9
"""Likeness (difflib's ratio) from which a name of nobody's is taken for a slip in one of ours."""
_KINDS = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a path",
    "str": "text",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    name: str
    """The variable, down to the value: dpdk_devices[0].pci."""
    text: str
    """What was found, what was expected, and the way out."""
    found: Any = None
    """What was found, as it came: it may know the file it stands in."""
    variable: str = ""
    """The variable itself, as it came."""

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


@dataclass(frozen=True)
class Schema:
    """What the variables of a host may be."""

    options: Mapping[str, Mapping[str, Any]]
    """Variable to its entry in an argument spec."""
    internal: frozenset[str] = frozenset()
    """Variables of the roles' defaults and vars that no spec names: may be set, are not checked."""
    roles: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The roles' defaults, as they are written."""

    @classmethod
    def of(cls, folder: Path) -> Schema:
        """That of the roles in a folder. Raises OSError and yaml.YAMLError."""
        roles = tuple(sorted(path.parents[1].name for path in folder.glob("*/meta/argument_specs.yml")))
        options: dict[str, Mapping[str, Any]] = {}
        defaults: dict[str, Any] = {}
        internal: set[str] = set()
        for role in roles:
            entries = _read(folder / role / "meta/argument_specs.yml").get("argument_specs", {})
            for entry in sorted(entries, key=lambda name: name != "main"):
                for name, spec in (entries[entry].get("options") or {}).items():
                    options.setdefault(name, spec)
            defaults.update(_read(folder / role / "defaults/main.yml"))
            for path in (folder / role / "vars").glob("*.yml"):
                internal |= set(_read(path))
        return cls(options, frozenset(internal | set(defaults)) - set(options), roles, defaults)

    def known(self, name: str) -> bool:
        """Whether a role reads this variable."""
        return name in self.options or name in self.internal


def _read(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def strangers(names: Iterable[str], schema: Schema) -> Iterator[Problem]:
    """Names that no role reads, but that look as if one did."""
    for name in names:
        if not isinstance(name, str) or schema.known(name):
            continue
        roles = [role for role in schema.roles if name.startswith(f"{role}_")]
        if roles:
            prefix = max(roles, key=len) + "_"
            ends = [option[len(prefix) :] for option in schema.options if option.startswith(prefix)]
            yield Problem(
                name, f"the role {prefix[:-1]} {_unknown(name[len(prefix) :], ends, prefix)}", variable=name
            )
        elif near := difflib.get_close_matches(name, schema.options, n=1, cutoff=_NEARLY):
            yield Problem(name, f"no role reads this: did you mean {near[0]}?", variable=name)


def _unknown(name: str, known: list[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"has no such option: did you mean {prefix}{near[0]}?"
    return f"has no such option, but {', '.join(prefix + one for one in sorted(known)) or 'none'}."


def mistakes(name: str, value: Any, spec: Mapping[str, Any]) -> Iterator[Problem]:  # noqa: ANN401 (any YAML)
    """All that is wrong with one value, and with what is in it."""
    kind = spec.get("type", "str")
    why = _lax(value, kind, name)
    if why is not None or not _valid(name, value, spec):
        yield Problem(name, _found(value, spec, why), value)
        return
    if kind == "list" and "elements" in spec:
        element = {key: spec[key] for key in spec if key not in ("type", "elements", "default", "required")}
        element["type"] = spec["elements"]
        # Ansible gives the choices of a list to its elements.
        for at, item in enumerate(value):
            yield from mistakes(f"{name}[{at}]", item, element)
    elif kind == "dict" and spec.get("options"):
        yield from _inside(name, value, spec)


def _inside(name: str, value: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Problem]:
    options = spec["options"]
    for key, item in value.items():
        if key in options:
            yield from mistakes(f"{name}.{key}", item, options[key])
        else:
            yield Problem(f"{name}.{key}", f"{name} {_unknown(str(key), list(options))}", key)
    rules = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")
    # What is inside an option was judged above.
    flat = {
        key: {"required": option.get("required", False), "type": "raw"} for key, option in options.items()
    }
    judged = ArgumentSpecValidator(flat, **{rule: spec.get(rule) for rule in rules}).validate(
        {key: item for key, item in value.items() if key in options}
    )
    for error in judged.errors:
        fix = " Keep one of them." if isinstance(error, MutuallyExclusiveError) else ""
        yield Problem(name, f"{error.msg}; found {', '.join(map(str, value)) or 'nothing'}.{fix}", value)


def _valid(name: str, value: Any, spec: Mapping[str, Any]) -> bool:  # noqa: ANN401 (any YAML)
    """Whether Ansible takes it. What is inside a list or a mapping is judged by itself."""
    alone = {key: spec[key] for key in ("type", "choices") if key in spec}
    if spec.get("type") in ("list", "dict"):
        alone.pop("choices", None)
    return not ArgumentSpecValidator({name: alone}).validate({name: value}).error_messages


def _lax(value: Any, kind: str, name: str) -> str | None:  # noqa: ANN401 (any YAML)
    """The way out, if this is one of those that Ansible would bend into shape; None: it would not, or rightly."""
    if value is None:
        return "Remove the line to get the role's default"
    if kind in ("str", "path"):
        if isinstance(value, bool):
            return "YAML reads on, off, yes and no as true and false: put the word in quotes"
        if isinstance(value, float):
            return "YAML reads it as a number (24.10 as 24.1, 0000:03:00.0 as 180.0): put it in quotes"
        if isinstance(value, int) and name.endswith("mode"):
            return f'YAML reads 0770 as the number 504: put it in quotes, as in "{"0770"}"'
        if isinstance(value, (list, dict)):
            return "Give one value"
    if kind in ("int", "float") and isinstance(value, bool):
        return "Give a number"
    if kind == "list" and not isinstance(value, list):
        return "Write it as a list: [first, second]"
    if kind == "dict" and not isinstance(value, dict):
        return "Write it as a mapping: {key: value}"
    return None


def _found(value: Any, spec: Mapping[str, Any], why: str | None) -> str:  # noqa: ANN401 (any YAML)
    found = "nothing" if value is None else repr(value)
    if isinstance(value, bool):
        found = str(value).lower()
    description = spec.get("description", "")
    about = " ".join(description) if isinstance(description, list) else description
    parts = [f"found {found}, expected {_expected(spec)}", why or "", about.strip()]
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _expected(spec: Mapping[str, Any]) -> str:
    kind = spec.get("type", "str")
    if kind == "list":
        element = spec.get("elements")
        inner = ", ".join(spec.get("options") or {})
        return "a list" + (
            f" of {{{inner}}}" if inner else f" of {_KINDS.get(element, element)}" if element else ""
        )
    if spec.get("choices"):
        return "one of " + ", ".join(repr(choice) for choice in spec["choices"])
    if kind == "dict" and spec.get("options"):
        return f"a mapping of {', '.join(spec['options'])}"
    return _KINDS.get(kind, str(kind))


def check(variables: Collection[str], schema: Schema, value_of: Callable[[str], Any]) -> list[Problem]:
    """All that is wrong with the variables of these names, by name.

    `value_of` gives a variable with its templates worked out; what it raises as ValueError is a problem of that
    variable.
    """
    found = list(strangers(variables, schema))
    for name in variables:
        if schema.known(name):
            try:
                value = value_of(name)
                wrong = list(mistakes(name, value, schema.options[name])) if name in schema.options else []
            except ValueError as error:
                wrong = [Problem(name, str(error))]
            found += [replace(problem, variable=name) for problem in wrong]
    return sorted(found, key=lambda problem: problem.name)
