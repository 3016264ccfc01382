"""Interfaces, and what is made again at boot."""

from __future__ import annotations

from labkit.doctor.host.desired import Desired

from .ways import Fault, changed

_ETHTOOL = {"rings": "-G", "coalescing": "-C", "features": "-K", "pause": "-A", "channels": "-L"}


def _tuned(group: str) -> Fault:
    def scripts(desired: Desired) -> tuple[str, str]:
        for one in desired["nic_tuning_interfaces"]:
            if one.get(group):
                return changed(_ETHTOOL[group], one["name"], one[group])
        return "false", "true"

    return Fault(
        check=f"nic_tuning.{group}",
        inject=lambda desired: scripts(desired)[0],
        revert=lambda desired: scripts(desired)[1],
        also=tuple(f"nic_tuning.{other}" for other in ("rss", "rings", "coalescing") if other != group),
    )


def _rss(desired: Desired) -> tuple[str, str]:
    found = [(one["name"], one["rss"]) for one in desired["nic_tuning_interfaces"] if one.get("rss")]
    name, wanted = found[0] if found else ("lo", {"indirection": "default"})
    return f"ethtool -X {name} equal 1", f"ethtool -X {name} {wanted['indirection']}"


NICS = (
    *(_tuned(group) for group in _ETHTOOL),
    Fault(
        check="nic_tuning.rss",
        inject=lambda desired: _rss(desired)[0],
        revert=lambda desired: _rss(desired)[1],
    ),
    Fault(
        check="replay.unit",
        inject=lambda desired: "systemctl disable --quiet labkit-host.service",
        revert=lambda desired: "systemctl enable --quiet labkit-host.service",
    ),
)
