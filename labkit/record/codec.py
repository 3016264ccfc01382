"""Frozen dataclasses to JSON values and back, and the JSON Schema of both, all driven by the type hints.

Written here on purpose: one walk over the types gives encoder, strict decoder and schema, so that the three can't
disagree. The libraries do a part each (msgspec can't refuse unknown keys of a plain dataclass, cattrs writes no
schema, pydantic coerces by default and costs 100 ms of import), and none names the JSON path of a mistake.

It knows no labkit type. Types that it reads: str, int, float, bool, object (any JSON value), X | None, Literal,
StrEnum, tuple[X, ...], Mapping[str, X], dict[str, X], dataclasses of these, and X | Y of two dataclasses.
"""

# ruff: noqa: ANN401 - types and JSON values of any kind are what it is about

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import PurePath
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")


class CodecError(ValueError):
    """A value that does not fit its type; `path` is where in the document ("$.measurements[3].key.frame")."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Field name to (type, whether it must be given)."""
    hints = typing.get_type_hints(cls)
    return {
        f.name: (
            hints[f.name],
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
        )
        for f in dataclasses.fields(cls)
    }


def encode(value: object, path: str = "$") -> Any:
    """The JSON value of `value`: dataclasses become objects with every field, tuples become arrays.

    Raises:
        CodecError: a value that JSON can't hold (NaN, infinity, a key that is no string, another type).

    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CodecError(path, f"{value} can't be stored: JSON has no such number")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: encode(getattr(value, name), f"{path}.{name}") for name in _fields(type(value))}
    if isinstance(value, Mapping):
        out: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise CodecError(path, f"key {key!r} is no string")
            out[key] = encode(item, f"{path}.{key}")
        return out
    if isinstance(value, list | tuple):
        return [encode(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, PurePath | IPv4Interface | IPv6Interface):
        return str(value)
    raise CodecError(path, f"a {type(value).__name__} can't be stored")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def decode(cls: type[T], value: Any, path: str = "$") -> T:
    """The `cls` that `encode` made `value` of. Strict: unknown and missing keys and wrong types are refused.

    A field with a default may be missing, so that a field can be added without breaking older results.

    Raises:
        CodecError: with the JSON path.

    """
    return cast("T", _decode(cls, value, path))


def _decode(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is object:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        present = _present(hint)
        return _decode(present[0] if len(present) == 1 else _chosen(present, value), value, path)
    if origin is Literal:
        return _one_of(typing.get_args(hint), value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise CodecError(path, f"expected an array, got {_shortened(value)}")
        item = typing.get_args(hint)[0]
        return tuple(_decode(item, v, f"{path}[{i}]") for i, v in enumerate(value))
    if origin in (Mapping, dict):
        if not isinstance(value, dict):
            raise CodecError(path, f"expected an object, got {_shortened(value)}")
        item = typing.get_args(hint)[1]
        return {k: _decode(item, v, f"{path}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(cast("type", hint), value, path)
    if issubclass(hint, Enum):
        return hint(_one_of(tuple(m.value for m in hint), value, path))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
    raise CodecError(path, f"expected {names[hint]}, got {_shortened(value)}")


def _present(hint: Any) -> tuple[Any, ...]:
    """X of X | None, X and Y of X | Y."""
    return tuple(a for a in typing.get_args(hint) if a is not types.NoneType)


def _own_key(first: type, second: type) -> str:
    """The key that an object of `first` always has and one of `second` never."""
    return next(n for n, (_, required) in _fields(first).items() if required and n not in _fields(second))


def _chosen(alternatives: tuple[type, ...], value: Any) -> type:
    """Which of two dataclasses an object is of."""
    first, second = alternatives
    return second if isinstance(value, dict) and _own_key(first, second) not in value else first


def _one_of(allowed: tuple[Any, ...], value: Any, path: str) -> Any:
    if value not in allowed:
        raise CodecError(path, f"expected one of {', '.join(map(repr, allowed))}, got {_shortened(value)}")
    return value


def _decode_dataclass(cls: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise CodecError(path, f"expected an object, got {_shortened(value)}")
    fields = _fields(cls)
    for key in value:
        if key not in fields:
            raise CodecError(path, f"unknown key {key!r}; known are {', '.join(fields)}")
    for name, (_, required) in fields.items():
        if required and name not in value:
            raise CodecError(path, f"key {name!r} is missing")
    arguments = {n: _decode(fields[n][0], v, f"{path}.{n}") for n, v in value.items()}
    try:
        return cls(**arguments)
    except Exception as e:  # a type's own check (__post_init__), whatever it raises
        raise CodecError(path, str(e)) from e


def schema(cls: type) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what `encode` makes of a `cls`: one definition a dataclass, no key left open.

    Only `object` values are free: evidence and facts that an engine, a backend or a link reports of itself.
    """
    definitions: dict[str, Any] = {}
    root = _schema(cls, definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions}


def _union_schema(alternatives: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    """One type, or one of two dataclasses: chosen as `_decode` does, so that errors are those of the chosen one."""
    if len(alternatives) == 1:
        return _schema(alternatives[0], definitions)
    first, second = alternatives
    return {
        "if": {"required": [_own_key(first, second)]},
        "then": _schema(first, definitions),
        "else": _schema(second, definitions),
    }


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin = typing.get_origin(hint)
    if hint is object:
        return {}
    if origin in (types.UnionType, typing.Union):
        of = _union_schema(_present(hint), definitions)
        return {"anyOf": [of, {"type": "null"}]} if types.NoneType in typing.get_args(hint) else of
    if origin is Literal:
        return {"enum": list(typing.get_args(hint))}
    if origin is tuple:
        return {"type": "array", "items": _schema(typing.get_args(hint)[0], definitions)}
    if origin in (Mapping, dict):
        return {"type": "object", "additionalProperties": _schema(typing.get_args(hint)[1], definitions)}
    if dataclasses.is_dataclass(hint):
        name = cast("type", hint).__name__
        if name not in definitions:
            definitions[name] = {}  # reserves the place, should a type hold itself
            fields = _fields(cast("type", hint))
            definitions[name] = {
                "type": "object",
                "additionalProperties": False,
                "required": [n for n, (_, required) in fields.items() if required],
                "properties": {n: _schema(h, definitions) for n, (h, _) in fields.items()},
            }
        return {"$ref": f"#/$defs/{name}"}
    if issubclass(hint, Enum):
        return {"enum": [m.value for m in hint]}
    return {"type": {str: "string", int: "integer", float: "number", bool: "boolean"}[hint]}
