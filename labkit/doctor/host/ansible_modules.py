"""Imports of Ansible's own modules, which come with the extra `ansible`."""

from __future__ import annotations

import importlib
from types import ModuleType

from labkit.errors import EnvironmentBroken
from labkit.machine import fix


def ansible_module(name: str) -> ModuleType:
    """Import what comes with the extra `ansible`. Raises EnvironmentBroken where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EnvironmentBroken(
            f"{error}: needed for the host checks", hint=fix.packages_of("ansible")
        ) from error
