"""The JSON Schema of results.json: generated from the types, kept beside them as schema.json.

`python -m labkit.record.schema` writes it anew after a type has changed; a test holds the two together.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from labkit.errors import ConfigInvalid
from labkit.record.codec import schema
from labkit.record.run import SCHEMA_VERSION, Run

FILE = Path(__file__).with_name("schema.json")


def generate() -> dict[str, Any]:
    """The schema of the types as they are now."""
    document = schema(Run)
    document["$id"] = f"urn:labkit:results:{SCHEMA_VERSION}"
    document["title"] = f"labkit results, version {SCHEMA_VERSION}"
    document["$defs"]["Run"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return document


def render() -> str:
    """The text of schema.json."""
    return json.dumps(generate(), indent=1, sort_keys=True) + "\n"


@cache
def _validator() -> Any:  # noqa: ANN401 - jsonschema's validator protocol differs between its releases
    from jsonschema import Draft202012Validator  # costs 50 ms: only who writes results needs it

    document = json.loads(FILE.read_text())
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def validate(document: object, where: str) -> None:
    """Check a parsed results.json. Raises ConfigInvalid with the JSON path of the first thing wrong."""
    error = next(iter(_validator().iter_errors(document)), None)
    while error is not None and error.context:  # "X or null": what is wrong is wrong with X
        error = error.context[0]
    if error is not None:
        raise ConfigInvalid(f"{where}: {error.json_path}: {error.message[:300]}")


if __name__ == "__main__":
    FILE.write_text(render())
