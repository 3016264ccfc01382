"""Has Onload loaded, with the wanted options, and exactly the wanted interfaces registered, now and at every boot."""

from __future__ import annotations

import inspect
import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import files, onload_plan, onload_register, onload_unit, services
from .onload_install import module_word
from .onload_plan import Running
from .onload_remove import MODULES, OnloadFailed, unload
from .programs import environment
from .state import State

LOADED = "sys/module/onload"
PARAMETERS = "sys/module/sfc_resource/parameters"
DEVICE = "dev/onload"
LOG_LINES = 25
_PROGRAM_S = 300.0


@dataclass(frozen=True)
class Asked:
    """What is to be loaded and registered."""

    af_xdp: Sequence[str]
    """Interfaces to register."""
    native: Sequence[str]
    """Interfaces that Onload drives itself."""
    options: Mapping[str, str]
    """Of sfc_resource."""
    first: Sequence[str] = ()
    """Those of af_xdp that have no native XDP."""


def look(root: Path = Path("/")) -> Running:
    """What is loaded and registered."""
    folder = root / PARAMETERS
    options = {}
    for file in sorted(folder.glob("*")):
        options[file.name] = _text(file)
    installed = module_word(root / f"lib/modules/{os.uname().release}/extra/onload.ko", "srcversion")
    return Running(
        loaded=onload_register.module_id(root) is not None,
        current=_text(root / LOADED / "srcversion") in ("", installed),
        options=options,
        registered=tuple(onload_register.registered(root)),
    )


def apply(role: str, asked: Asked, *, root: Path = Path("/"), check: bool = False) -> bool:
    """Make it so. Returns whether that changes anything. Raises OnloadFailed and ServiceFailed.

    Where a registration is not sound its unit has unloaded Onload at once, and nothing is registered then.
    """
    changed = _install_unit(role, asked, root=root, check=check)
    now = look(root)
    todo = onload_plan.registration(asked.af_xdp, asked.options, now, asked.first)
    units = {name: onload_unit.unit(name) for name in asked.af_xdp}
    if check:
        disabled = any(not services.look(unit).enabled for unit in units.values())
        return changed or todo.unload or bool(todo.register) or not now.loaded or disabled
    if todo.unload:
        unload(root)
    if todo.unload or not now.loaded:
        _load(role, root)
        changed = True
    for name in sorted(asked.af_xdp, key=lambda one: one not in asked.first):
        changed |= _register(role, units[name], anew=name in todo.register)
    _verify(asked, root)
    return changed


def _install_unit(role: str, asked: Asked, *, root: Path, check: bool) -> bool:
    program = inspect.getsource(onload_register)
    changed = files.change(role, onload_unit.PROGRAM_PATH, program, root=root, check=check)
    unit = files.change(role, onload_unit.TEMPLATE_PATH, onload_unit.TEMPLATE, root=root, check=check)
    for name in asked.first:
        others = [one for one in asked.af_xdp if one != name]
        if others:
            path, text = onload_unit.before(name, others)
            unit |= files.change(role, path, text, root=root, check=check)
    if unit and not check:
        services.reload()
    return changed or unit


def _load(role: str, root: Path) -> None:
    State(role, root).note(MODULES, "onload", None, None)
    done = _program("modprobe", "onload")
    if done.returncode:
        raise OnloadFailed(f"modprobe onload: {done.stderr.strip() or f'exit code {done.returncode}'}")


def _register(role: str, unit: str, *, anew: bool) -> bool:
    """Have its unit enabled, and started after the last load of the modules. Raises OnloadFailed."""
    try:
        if anew:
            _program("systemctl", "reset-failed", unit)
            _program("systemctl", "--no-ask-password", "stop", unit)
        changed = services.change(role, unit, enabled=True, running=True)
    except services.ServiceFailed as error:
        raise OnloadFailed(f"{error}\nThe last lines of {unit}:\n{log(unit)}") from error
    return changed or anew


def _verify(asked: Asked, root: Path) -> None:
    """What a host has on which all is well. Raises OnloadFailed."""
    now = look(root)
    device = root / DEVICE
    if not now.loaded or not (root / LOADED).is_dir():
        raise OnloadFailed("Onload's modules are not loaded any more (lsmod): see journalctl -b")
    if not device.exists() or not stat.S_ISCHR(device.stat().st_mode):
        raise OnloadFailed(f"/{DEVICE}: expected a character device, which the module onload makes")
    differ = {
        name: now.options.get(name, "")
        for name in asked.options
        if now.options.get(name) != asked.options[name]
    }
    if differ:
        found = ", ".join(
            f"{name} is {value or 'missing'}, expected {asked.options[name]}"
            for name, value in differ.items()
        )
        raise OnloadFailed(
            f"options of sfc_resource are not in effect: {found}. See {onload_unit.OPTIONS_PATH}"
        )
    if missing := [name for name in asked.af_xdp if name not in now.registered]:
        raise OnloadFailed(
            f"{', '.join(missing)}: not registered any more, since Onload was loaded again meanwhile"
        )


def log(unit: str) -> str:
    """The last lines that it printed."""
    done = _program("journalctl", "--unit", unit, "--lines", str(LOG_LINES), "--output", "cat", "--no-pager")
    return "\n".join(line for line in done.stdout.splitlines() if line.strip()) or "nothing is in the journal"


def _program(*command: str) -> subprocess.CompletedProcess[str]:
    """Raises OnloadFailed where it is not there or takes too long."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PROGRAM_S, env=environment()
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise OnloadFailed(f"{' '.join(command)}: {error}") from error


def _text(path: Path) -> str:
    """Empty where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
