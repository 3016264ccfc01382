"""Reads the key `onload` of a topology."""

from __future__ import annotations

import re

from labkit.errors import Mistakes
from labkit.lab.onload import NO_FAIL, PROFILE, OnloadSettings
from labkit.yamlfile import Node

BACKEND = "onload"
_VARIABLE = re.compile(r"(?:EF|TP|CITP)_[A-Z0-9_]+")
_PROFILE = re.compile(r"[\w./-]+(?:,[\w./-]+)*", re.ASCII)


def read_onload(node: Node, mistakes: Mistakes) -> OnloadSettings:
    """The settings. Raises ConfigInvalid, or notes, with all that is wrong."""
    keys = node.mapping(required=(), optional=("profile", "environment"))
    profile, environment = PROFILE, dict[str, str]()
    with mistakes.noted():
        if "profile" in keys:
            profile = keys["profile"].text()
            if not _PROFILE.fullmatch(profile) or profile.startswith("-"):
                keys["profile"].fail(
                    f"expected a profile of Onload's, or several with commas between them, got {profile!r}",
                    hint="such as latency, throughput, or the path of a file",
                )
    with mistakes.noted():
        if "environment" in keys:
            environment = _environment(keys["environment"], mistakes)
    return OnloadSettings(profile=profile, environment=environment)


def _environment(node: Node, mistakes: Mistakes) -> dict[str, str]:
    if not isinstance(node.value, dict):
        node.fail('expected a mapping of variables of Onload, such as {EF_POLL_USEC: "100000"}')
    found = {}
    for name, value in node.value.items():
        with mistakes.noted():
            if not _VARIABLE.fullmatch(name):
                value.fail(f"expected a variable of Onload (EF_...), got {name!r}")
            if name == NO_FAIL:
                value.fail(
                    f"{NO_FAIL}: labkit itself sets it to 0, so that no socket is silently the kernel's",
                    hint="remove it",
                )
            if not isinstance(value.value, str):
                value.fail("expected text", hint='in quotes, such as "100000"')
            found[name] = value.value
    return found


def needless(node: Node) -> None:
    """Refuse settings that nothing of the lab uses."""
    node.fail(f"the key onload is for the backend {BACKEND}", hint=f"add {BACKEND} to backends")
