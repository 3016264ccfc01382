"""Interfaces, and what is made again at boot."""

from __future__ import annotations

from labkit.doctor.host.desired import Desired

from .ways import Sabotage, changed

_ETHTOOL = {"rings": "-G", "coalescing": "-C", "features": "-K", "pause": "-A", "channels": "-L"}


def _tuned(group: str) -> Sabotage:
    def scripts(desired: Desired) -> tuple[str, str]:
        for one in desired["nic_tuning_interfaces"]:
            if one.get(group):
                return changed(_ETHTOOL[group], one["name"], one[group])
        return "false", "true"

    return Sabotage(
        promise=f"nic_tuning.{group}",
        breaks=lambda desired: scripts(desired)[0],
        mends=lambda desired: scripts(desired)[1],
        also=tuple(f"nic_tuning.{other}" for other in ("rss", "rings", "coalescing") if other != group),
    )


def _rss(desired: Desired) -> tuple[str, str]:
    found = [(one["name"], one["rss"]) for one in desired["nic_tuning_interfaces"] if one.get("rss")]
    name, wanted = found[0] if found else ("lo", {"indirection": "default"})
    return f"ethtool -X {name} equal 1", f"ethtool -X {name} {wanted['indirection']}"


NICS = (
    *(_tuned(group) for group in _ETHTOOL),
    Sabotage(
        promise="nic_tuning.rss",
        breaks=lambda desired: _rss(desired)[0],
        mends=lambda desired: _rss(desired)[1],
    ),
    Sabotage(
        promise="replay.unit",
        breaks=lambda desired: "systemctl disable --quiet labkit-host.service",
        mends=lambda desired: "systemctl enable --quiet labkit-host.service",
    ),
)
