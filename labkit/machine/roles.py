"""Finds the Ansible roles and loads the code that labkit shares with them, so that no second copy is kept."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from labkit.errors import EnvironmentBroken

PLAYBOOK = "site.yml"
_UTILS = "labkit_host_module_utils"


def folder() -> Path:
    """The folder `ansible` of this checkout or installation. Raises EnvironmentBroken."""
    package = Path(__file__).parents[1]
    for place in (package / "ansible", package.parent / "ansible"):  # installed, or a checkout
        if (place / PLAYBOOK).exists():
            return place
    raise EnvironmentBroken(
        f"the Ansible roles are neither in {package / 'ansible'} nor in {package.parent / 'ansible'}",
        hint="run labkit from a checkout, or install a wheel that has them",
    )


def host_module(name: str) -> ModuleType:
    """Import a module of the collection labkit.host from its folder plugins/module_utils.

    This is a dependency of labkit on ansible/ that no import statement shows. The first call makes an empty package
    `labkit_host_module_utils` in sys.modules whose __path__ is that folder; each module is imported as part of it.
    So the host checks and the roles parse with the same code, and a lab changes drivers as the roles do.
    tests/unit/test_layers.py lists the modules that are loaded so.

    Importing `ansible_collections.labkit.host` would fail where Ansible's community collections are installed: their
    package `ansible_collections` hides ours.
    """
    if _UTILS not in sys.modules:
        package = ModuleType(_UTILS)
        package.__path__ = [
            str(folder() / "collections/ansible_collections/labkit/host/plugins/module_utils")
        ]
        sys.modules[_UTILS] = package
    return importlib.import_module(f"{_UTILS}.{name}")
