"""Whether drivers and interfaces take what a host's variables ask of them. Changes nothing.

`slips` are wrong with any kernel. What the kernel that runs `lacks` may come with another one, or with packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import drivers, ethtool, nics, pci
from .ethtool_groups import GROUPS, EthtoolFailed, EthtoolMissing, slip, text_of
from .links import Interface, Untouchable
from .preflight_devices import DEVICES, LISTS

_PACKAGES = ("dpdk_packages", "labkit_host_packages", "lowlatency_kernel_packages")
_WITH_MODULES = "dkms|kmod|modules"
"""What the names of packages with modules of the kernel have in them."""


def slips(wanted: Mapping[str, Any]) -> Iterator[str]:
    """Values that no interface takes."""
    for where, _, settings in _interfaces(wanted):
        for group, values in settings.items():
            for key, value in values.items():
                wrong = slip(group, key, text_of(value))
                if wrong:
                    yield f"{where}: {wrong}"


def lacks(
    wanted: Mapping[str, Any],
    interfaces: Sequence[Interface],
    touchable: Callable[[str], Interface],
    root: Path = Path("/"),
) -> Iterator[str]:
    """What the kernel that runs has not. What preflight_devices.problems finds wrong anyway is left out.

    Where ethtool is not installed yet, what an interface supports is not known yet.
    """
    queues_to_come = any("queues" in item for item in wanted.get("af_xdp_interfaces", []))
    for where, name, settings in _interfaces(wanted):
        try:
            interface = touchable(name)
        except Untouchable:
            continue
        for group, values in settings.items():
            if group == "rss" and queues_to_come:
                continue
            right = {key: value for key, value in values.items() if not slip(group, key, text_of(value))}
            try:
                ethtool.look_at(interface.name, {group: right})
            except EthtoolMissing:
                break
            except EthtoolFailed as error:
                yield f"{where}: {error}"
    packages = [str(one) for name in _PACKAGES for one in wanted.get(name, [])]
    if any(re.search(_WITH_MODULES, one) for one in packages):
        return
    for at, item in enumerate(wanted.get(DEVICES, [])):
        address = pci.address(str(item["pci"]))
        wrong = address is None or any(nics.problems(address, interfaces, root))
        missing = None if wrong else drivers.missing(str(item["driver"]), root)
        if missing:
            yield f"{DEVICES}[{at}].driver: {missing}"


def _interfaces(wanted: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, dict[str, Any]]]]:
    """Place in the variables, interface, and its settings as the roles give them to ethtool."""
    for variable in LISTS:
        for at, item in enumerate(wanted.get(variable, [])):
            asked = {
                **{group: item.get(group) for group in GROUPS},
                "mtu": {"mtu": item.get("mtu")},
                **({"channels": {"queues": item["queues"]}} if "queues" in item else {}),
                "napi": {
                    "napi_defer_hard_irqs": item.get("napi_defer_hard_irqs"),
                    "gro_flush_timeout": item.get("gro_flush_timeout_ns"),
                    "threaded": item.get("threaded"),
                },
            }
            settings = {
                group: given
                for group, values in asked.items()
                if (given := {key: value for key, value in (values or {}).items() if value is not None})
            }
            yield f"{variable}[{at}]", str(item["name"]), settings
