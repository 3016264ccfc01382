"""Host checks of the role openonload: it is installed and loaded, and the interfaces are soundly registered."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from labkit.doctor.host.desired import Desired
from labkit.doctor.host.interfaces import resolved
from labkit.doctor.host.model import Failed, HostCheck, NotApplicable, Outcome, compare
from labkit.doctor.host.reader import HostFacts, HostReader, understood
from labkit.machine.roles import host_module

_INSTALLED = "tr '\\0' '\\n' </lib/modules/$(uname -r)/extra/onload.ko | sed -n s/^srcversion=//p"
"""As modinfo -F srcversion has it."""
_LOADED, _DEVICE = "/sys/module/onload/srcversion", "/dev/onload"
_PARAMETERS = "/sys/module/sfc_resource/parameters"
_LOAD = "stat -c %i /sys/module/sfc_resource"
"""Another number for each load of the module."""


def _not_wanted(desired: Desired) -> NotApplicable | None:
    if desired.text("openonload_state") == "absent" or not desired.text("openonload_version"):
        return NotApplicable(
            "openonload_version is empty, or openonload_state absent: Onload is not asked for"
        )
    return None


def _af_xdp(reader: HostReader, desired: Desired) -> list[str]:
    """Interfaces that are to be registered; Onload drives the others itself."""
    names = [resolved(reader, str(one["name"])) for one in desired["openonload_interfaces"]]
    if not names:
        return []
    links = {name: f"/sys/class/net/{name}/device/driver" for name in names}
    facts = reader.look(links=tuple(shlex.quote(link) for link in links.values()))
    native = host_module("onload_plan").NATIVE
    return [name for name, link in links.items() if facts.target(link) not in native]


def _stamp(reader: HostReader) -> tuple[HostFacts, str]:
    install = host_module("onload_install")
    facts = reader.look(
        files=(install.STAMP, host_module("onload_remove").MANIFEST, "/proc/sys/kernel/osrelease"),
        commands={"installed": _INSTALLED},
    )
    return facts, facts.text(install.STAMP) or ""


def _version(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    facts, text = _stamp(reader)
    stamp = host_module("onload_plan").stamp_of(text)
    manifest = host_module("onload_remove").MANIFEST
    return compare(
        [
            ("Onload", desired.text("openonload_version"), stamp.version if stamp else "none of labkit's"),
            ("archive with sha256", desired.text("openonload_sha256"), stamp.sha256 if stamp else "unknown"),
            (manifest, "there", "there" if facts.text(manifest) else "missing"),
        ],
        f"Onload {desired.text('openonload_version')}",
    )


def _modules(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    facts, text = _stamp(reader)
    kernel = facts.text("/proc/sys/kernel/osrelease") or "unknown"
    stamp = host_module("onload_plan").stamp_of(text)
    noted = stamp.kernels.get(kernel, "") if stamp else ""
    found = facts.commands["installed"].out if facts.commands["installed"].code == 0 else ""
    if not noted:
        return Failed(
            f"modules for this kernel ({kernel})", f"none are noted; onload.ko: {found or 'missing'}"
        )
    return compare(
        [(f"srcversion of onload.ko for {kernel}", noted, found or "missing")], f"modules for {kernel}"
    )


def _loaded(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    facts = reader.look(
        files=(_LOADED,), commands={"installed": _INSTALLED, "device": f"stat -c %F {_DEVICE}"}
    )
    installed = facts.commands["installed"].out if facts.commands["installed"].code == 0 else ""
    return compare(
        [
            ("loaded module", installed or "one that is installed", facts.text(_LOADED) or "none"),
            (_DEVICE, "character special file", facts.commands["device"].out[:200] or "missing"),
        ],
        f"the module onload that is installed, and {_DEVICE}",
    )


def _options(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    wanted = host_module("onload_unit").options(
        flow_filters=bool(desired["openonload_flow_filters"]), helper=bool(desired["openonload_generic_xdp"])
    )
    facts = reader.look(files=tuple(f"{_PARAMETERS}/{name}" for name in wanted))
    return compare(
        [(name, value, facts.text(f"{_PARAMETERS}/{name}") or "missing") for name, value in wanted.items()],
        ", ".join(f"{name} {value}" for name, value in wanted.items()),
    )


def _no_interfaces() -> NotApplicable:
    return NotApplicable("openonload_interfaces names none that is registered for AF_XDP")


def _units(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    names = _af_xdp(reader, desired)
    if not names:
        return _no_interfaces()
    units = [host_module("onload_unit").unit(name) for name in names]
    asked = {
        unit: f"systemctl show {shlex.quote(unit)} --property=UnitFileState,ActiveState" for unit in units
    }
    results = reader.look(commands=asked).commands
    differences = []
    for unit in units:
        found = dict(line.split("=", 1) for line in results[unit].out.splitlines() if "=" in line)
        differences += [
            (f"{unit} is", "enabled", found.get("UnitFileState") or "missing"),
            (f"{unit} is", "active", found.get("ActiveState") or "missing"),
        ]
    return compare(differences, ", ".join(units))


def _registered(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    names = _af_xdp(reader, desired)
    if not names:
        return _no_interfaces()
    notes = {name: f"/{host_module('onload_register').NOTES}/{name}.json" for name in names}
    facts = reader.look(
        files=tuple(shlex.quote(note) for note in notes.values()),
        commands={"load": _LOAD, "xdp": "ip -json link"},
    )
    links = understood("ip -json link", facts.commands["xdp"].out, json.loads)
    attached = {str(link["ifname"]) for link in links if link.get("xdp")}
    load = facts.commands["load"].out if facts.commands["load"].code == 0 else "none"
    differences = []
    for name, path in notes.items():
        note = facts.read(path, json.loads) or {}
        found = (
            "no" if not note else "yes" if str(note["module"]) == load else "before the last load of Onload"
        )
        differences.append((f"{name} soundly registered:", "yes", found))
        if note.get("generic"):  # the kernel shows no program that Onload gave to a driver by itself
            differences.append((f"XDP program on {name}:", "yes", "yes" if name in attached else "no"))
    return compare(differences, f"{', '.join(names)} since the last load of Onload")


def _queues(reader: HostReader, desired: Desired) -> Outcome:
    if unwanted := _not_wanted(desired):
        return unwanted
    names = _af_xdp(reader, desired)
    if not names:
        return _no_interfaces()
    if not desired["openonload_one_queue"]:
        return NotApplicable("openonload_one_queue is off: queues stay as they are")
    results = reader.look(commands={name: _count(name) for name in names}).commands
    differences = [(f"receive queues of {name}:", "1", results[name].out or "none") for name in names]
    return compare(differences, _listed(names))


def _count(name: str) -> str:
    return f"ls -d /sys/class/net/{shlex.quote(name)}/queues/rx-* | wc -l"


def _listed(names: Sequence[str]) -> str:
    return f"one queue on {', '.join(names)}"


HOST_CHECKS = (
    HostCheck(
        id="openonload.version", text="the version of Onload that is asked for is installed", check=_version
    ),
    HostCheck(id="openonload.modules", text="Onload's modules for this kernel are installed", check=_modules),
    HostCheck(id="openonload.loaded", text="the module onload that is installed is loaded", check=_loaded),
    HostCheck(id="openonload.options", text="the options of Onload's modules are in effect", check=_options),
    HostCheck(
        id="openonload.units", text="the units that register interfaces are enabled and active", check=_units
    ),
    HostCheck(
        id="openonload.registered",
        text="the interfaces are soundly registered with Onload",
        check=_registered,
    ),
    HostCheck(
        id="openonload.queues", text="the interfaces that Onload has by AF_XDP have one queue", check=_queues
    ),
)
